"""Runs of every kind pass: for patients, resumed, retried, with sites that keep their own journals, in earnest."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import patch

import pytest

from federation.audit.examine import audit
from federation.ledger.export import export_lines, load_entries
from federation.plan.plan import parse
from federation.report.files import read_report
from federation.round.messages import Frame, Kind
from federation.round.transport import Outgoing
from server.run_folder import RunFolder
from simulations import messages
from simulations.simulate import simulate
from simulations.world import InProcess
from tests.federation.audit.audited import (
    EVALUATED,
    SITES,
    edited_report,
    finished,
    ids,
    ids_at,
    receipts,
    served,
    with_rules,
)
from tests.federation.report.pages import check_quiet
from tests.worlds import NAMES, rows_of, write_sites

PATIENTS = EVALUATED.replace('unit = "record"', 'unit = "patient"').replace(
    'target = "sick"', 'target = "sick"\npatient = "mrn"'
)
DECLARED = PATIENTS.replace('noise = "distributed"', 'noise = "distributed"\nsites_per_patient = 2')


def write_patients(folder: Path) -> Path:
    """Sites whose records are of patients with two records each."""
    folder.mkdir(parents=True)
    for number, name in enumerate(SITES):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [[*row, f"p{index // 2}"] for index, row in enumerate(rows_of(number, 40 + 8 * number))]
            csv.writer(file).writerows([["age", "dose", "ward", "sick", "mrn"], *rows])
    return folder


def played(folder: Path, text: str, sites: Path, engine: str = "protocol") -> Path:
    simulate(parse(text), sites, folder / "run", engine=engine, progress=lambda *_: None)  # type: ignore[arg-type]
    return folder / "run"


@pytest.mark.parametrize("text", [PATIENTS, DECLARED])
def test_a_run_for_patients_passes_and_tells_what_a_patient_pays(tmp_path: Path, text: str) -> None:
    found = audit(played(tmp_path, text, write_patients(tmp_path / "sites")))
    assert found.findings == ()
    record, patient = found.units["record"].total, found.units["patient"].total
    assert patient.lower >= record.lower * 0.999 > found.units["record"].training.lower


class Stopped(Exception):
    """A process that ends in the middle."""


def interrupted(folder: Path, text: str, where: str) -> Path:
    """A run that died at `where` for the first time, and was taken up again."""
    sites = write_sites(folder / "sites")
    kept = getattr(RunFolder, where)
    left = [1]

    def once(self: RunFolder, *words: object) -> object:
        if left.pop():
            left.append(0)
            raise Stopped
        left.append(0)
        return kept(self, *words)

    with patch.object(RunFolder, where, once), pytest.raises(Stopped):
        played(folder, text, sites)
    return played(folder, text, sites)


@pytest.mark.parametrize("where", ["store", "store_evaluation", "store_closing", "write_params", "close"])
def test_a_run_that_was_killed_and_taken_up_again_passes(tmp_path: Path, where: str) -> None:
    """Between any two things that it writes."""
    found = audit(interrupted(tmp_path, EVALUATED, where))
    assert (found.verdict, ids(found)) == ("pass", set())


class Failing(InProcess):
    """Once, in round 2, what two sites have answered is lost: too many for the round to end."""

    def send(self, messages: Iterable[Outgoing]) -> None:
        lost = getattr(self, "lost", set[str]())
        for message in messages:
            frame = Frame.from_bytes(message.data)
            super().send([message])
            is_it = (frame.kind, frame.round) == (Kind.BROADCAST, 2) and message.to in ("ash", "birch")
            if is_it and message.to not in lost:
                self._arrivals.pop()
                lost.add(message.to)
        self.lost = lost


def test_a_round_that_took_two_attempts_is_charged_once_and_passes(tmp_path: Path) -> None:
    with patch.object(messages, "InTurn", Failing):
        run = finished(tmp_path, "protocol", EVALUATED)
    with receipts(run) as lines:
        assert [line["attempts"] for line in lines if "round" in line] == [1, 2]
    found = audit(run)
    assert found.findings == ()
    assert {site.training.executed for site in found.sites} == {2}


def test_sites_that_keep_their_own_journals_are_told_what_to_hand_in(tmp_path: Path) -> None:
    """A simulation obeys a site.toml, and leaves the journal where that says: outside the run."""
    sites = write_sites(tmp_path / "sites", 2)
    with_rules(sites, "cedar", 2, EVALUATED)
    run = played(tmp_path, EVALUATED, sites)
    found = audit(run)
    assert ids_at(found, "cedar") == {"ledger-missing-in-simulation"}
    detail = found.findings[0].detail
    assert "site.toml" in detail and "federation ledger export" in detail and "--ledger cedar.jsonl" in detail
    handed_in = audit(run, [sites / "cedar" / "own.sqlite"])
    assert (handed_in.findings, handed_in.simulated) == ((), True)


def test_a_journal_that_outlives_a_simulation_speaks_of_others_too(tmp_path: Path) -> None:
    """Its peers of another day had the same names and other keys: their heads in it say nothing of today's."""
    sites = write_sites(tmp_path / "sites", 2)
    with_rules(sites, "cedar", 2, EVALUATED)
    first = played(tmp_path / "first", EVALUATED, sites)
    second = played(tmp_path / "second", EVALUATED, sites)
    own = [sites / "cedar" / "own.sqlite"]
    assert (audit(first, own).findings, audit(second, own).findings) == ((), ())


def test_a_run_in_earnest_passes_with_exported_ledgers_and_warns_without(tmp_path: Path) -> None:
    """A server has no ledger of anybody: that is for the sites to hand in."""
    run = served(tmp_path, EVALUATED)
    bare = audit(run)
    assert (bare.verdict, ids(bare), bare.simulated) == ("pass", {"ledger-missing"}, False)
    assert bare.without_ledger == SITES
    assert all(any(site in line for line in bare.not_checked) for site in SITES)
    page = check_quiet((run / "report.html").read_text("utf-8"))
    assert "plan paid for is hidden" in page.text or "Published, with noise" in page.text
    assert read_report(run).to_json() == json.loads((run / "report.json").read_text("utf-8"))
    assert audit(run, [tmp_path / "ash" / "own.sqlite"]).without_ledger == ("birch", "cedar")
    exported = []
    for name in SITES:
        exported.append(tmp_path / f"{name}.jsonl")
        text = export_lines(load_entries(tmp_path / name / "own.sqlite"))
        exported[-1].write_text(text, "utf-8")
    found = audit(run, exported)
    assert (found.findings, found.simulated, found.without_ledger) == ((), False, ())


def test_in_earnest_figures_that_nobody_paid_for_are_found(tmp_path: Path) -> None:
    """A raw accuracy of one site's patients is a release without noise."""
    run = served(tmp_path, EVALUATED)
    found = edited_report(run, lambda report: report["evaluation"].update(sites={"ash": {"accuracy": 0.9}}))
    assert "evaluation-unplanned" in ids(found, "critical")
    found = edited_report(run, lambda report: report.update(engine="vectorized"))
    assert "report-mismatch" in ids(found, "critical")  # an engine of simulations only
    edited_report(run, lambda report: (report["evaluation"].update(sites={}), report.update(engine="flower")))
    with receipts(run) as lines:
        lines[0]["metrics"] = {"accuracy": 0.5}
    assert "evaluation-unplanned" in ids(audit(run), "critical")


class Deaf(InProcess):
    """In round 2 nothing gets through to birch, which never begins it."""

    def send(self, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            frame = Frame.from_bytes(message.data)
            if (frame.round, message.to) != (2, "birch"):
                super().send([message])


def test_a_site_that_missed_a_round_in_earnest_is_counted_for_no_less_than_it_gave(tmp_path: Path) -> None:
    """The server counts whom it invited; the ledger, what was begun. More told than spent is no false claim."""
    names = NAMES[:4]
    run = served(tmp_path, EVALUATED, Deaf, names)
    with receipts(run) as lines:
        assert "birch" not in lines[1]["survivors"]
    found = audit(run, [tmp_path / name / "own.sqlite" for name in names])
    assert found.verdict == "pass"
    birch = next(site for site in found.sites if site.id == "birch")
    assert (birch.training.charged, birch.training.executed) == (2, 1)
