"""An audit tells of runs whose secure aggregation a hostile server could undo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.audit.examine import audit
from federation.audit.findings import Findings
from federation.audit.receipts import Receipt, Receipts
from federation.audit.suites import check_suites
from federation.identity.keys import load_private
from federation.identity.roster_file import load_roster, write_roster
from federation.ledger.export import load_entries
from federation.plan.plan import parse
from privacy.ledger.chain import Entry, append
from privacy.roster import Roster, SignedRoster
from privacy.suite import BROKEN, OLDER, SUITE
from tests.federation.audit.audited import (
    SITES,
    TEXT,
    edited_report,
    ids,
    receipts,
    rewritten,
    served,
    steps_of,
    stored,
)

NAMES = ("ash", "birch", "cedar", "elm")
SUITES = {"suite-broken", "suite-outdated"}


def found(suites: set[int], *, simulated: bool, dropouts: int = 1, noise: str = "distributed") -> Findings:
    plan = parse(TEXT.replace("dropouts = 1", f"dropouts = {dropouts}"))
    plan = plan.model_copy(update={"privacy": plan.privacy.model_copy(update={"noise": noise})})
    gathered = Findings()
    check_suites(plan, Receipts(suites=suites), {}, None, {simulated}, gathered)
    return gathered


def test_a_run_of_today_has_no_such_finding(run: Path) -> None:
    assert not ids(audit(run)) & SUITES


@pytest.mark.parametrize("noise", ["site", "distributed", "central", "none"])
def test_a_real_run_of_the_broken_suite_fails_and_says_what_was_exposed(noise: str) -> None:
    (finding,) = found({BROKEN}, simulated=False, noise=noise).sorted()
    assert (finding.id, finding.severity) == ("suite-broken", "critical")
    assert "secagg/2" in finding.detail
    assert "read the updates of as many sites as may drop out" in finding.detail


def test_nobody_was_exposed_in_a_simulation_nor_where_no_site_may_be_lost() -> None:
    for gathered in (found({BROKEN}, simulated=True), found({BROKEN}, simulated=False, dropouts=0)):
        (finding,) = gathered.sorted()
        assert (finding.id, finding.severity) == ("suite-outdated", "warning")


@pytest.mark.parametrize(("size", "is_exposed"), [(128, False), (129, True)])
def test_suite_3_exposed_single_updates_in_cohorts_along_a_ring(size: int, is_exposed: bool) -> None:
    names = tuple(f"site-{slot:03}" for slot in range(size))
    told = Receipts(suites={OLDER}, lines=[Receipt(1, names, names, "", "", 0.0, {}, {}, {}, frozenset())])
    gathered = Findings()
    check_suites(parse(TEXT), told, {}, None, {False}, gathered)
    (finding,) = gathered.sorted()
    assert finding.id == ("suite-broken" if is_exposed else "suite-outdated")


@pytest.mark.parametrize("simulated", [False, True])
def test_a_run_of_the_suite_before_this_one_is_told_and_not_failed(simulated: bool) -> None:
    """Nobody could read an update; what was recorded may be read later. A simulation sent nothing."""
    gathered = found({OLDER}, simulated=simulated)
    told = [(each.id, each.severity) for each in gathered.sorted()]
    assert told == ([] if simulated else [("suite-outdated", "warning")])
    assert all("quantum computer" in each.detail for each in gathered.sorted())


def test_receipts_of_the_suite_before_this_one_are_still_audited(run: Path) -> None:
    with receipts(run) as lines:
        for line in lines:
            line["suite"] = OLDER
    result = audit(run)
    assert not ids(result) & SUITES
    assert any("secagg/3 kept nothing" in line for line in result.not_checked)


def test_a_roster_that_was_signed_for_the_suite_before_this_one_is_read(tmp_path: Path) -> None:
    home = served(tmp_path, TEXT, names=NAMES)
    signed = load_roster(home / "roster.toml")
    older = replace(Roster.from_bytes(signed.roster), suite=OLDER)
    consortium = load_private(tmp_path / "consortium" / "consortium.key")
    write_roster(
        home / "roster.toml", SignedRoster(signed.roster, SignedRoster.by(older, [consortium]).signatures)
    )
    with receipts(home) as lines:
        for line in lines:
            line["suite"] = OLDER
    assert ids(audit(home)) & {*SUITES, "roster-signature"} == {"suite-outdated"}


def test_a_suite_that_was_never_released_is_a_lie() -> None:
    assert [each.id for each in found({SUITE + 1}, simulated=False).sorted()] == ["suite-broken"]


def test_receipts_that_name_no_suite_are_those_of_the_broken_one(run: Path) -> None:
    with receipts(run) as lines:
        for line in lines:
            assert line.pop("suite") == SUITE
    assert ids(audit(run)) & SUITES == {"suite-outdated"}


def test_a_site_that_masked_under_the_broken_suite_says_so_against_the_server(run: Path) -> None:
    """The server's word for its own suite is no evidence; what sites sign is."""
    steps = steps_of(run, SITES[0])
    older = [(kind, {k: v for k, v in body.items() if k != "suite"}) for kind, body in steps]
    assert older != steps
    rewritten(run, SITES[0], older)
    assert ids(audit(run)) & SUITES == {"suite-outdated"}


def as_the_broken_suite_left_it(home: Path, run: Path) -> list[Path]:
    """A real run's roster, receipts and ledgers with the labels of suite 2; the ledgers."""
    with receipts(run) as lines:
        for line in lines:
            del line["suite"]
            line.pop("transcript", None)
    rmtree(run / "rounds")
    edited_report(run, lambda report: report.pop("transcripts"))
    path = run / "roster.toml"
    signed = load_roster(path)
    roster = replace(Roster.from_bytes(signed.roster), suite=BROKEN)
    consortium = load_private(home / "consortium" / "consortium.key")
    (older,) = SignedRoster.by(roster, [consortium]).signatures.values()
    (newer,) = signed.signatures.values()
    path.write_text(path.read_text().replace(newer.hex(), older.hex()))
    ledgers = []
    for name in NAMES:
        ledger = home / name / "own.sqlite"
        entries = load_entries(ledger)
        steps = [(entry.kind, as_before(entry.kind, entry.body, roster)) for entry in entries]
        key = load_private(home / name / "keys" / f"{name}.key")
        chained: list[Entry] = []
        for kind, body in steps:
            chained.append(append(chained[-1] if chained else None, kind, body, key))
        stored(ledger, chained)
        ledgers.append(ledger)
    return ledgers


def as_before(kind: str, body: Mapping[str, Any], roster: Roster) -> dict[str, Any]:
    if kind == "roster":
        return {**body, "root": roster.root.hex()}
    return {name: value for name, value in body.items() if name != "suite"}


def test_a_real_run_with_the_files_of_the_broken_suite_fails_for_its_suite(tmp_path: Path) -> None:
    """Its roster, signed under the older label, its receipts and its ledgers are read; heads do not fit, as the
    chains of this test were made anew.
    """
    run = served(tmp_path, TEXT, names=NAMES)
    ledgers = as_the_broken_suite_left_it(tmp_path, run)
    (run / "consents.jsonl").unlink()  # nobody signed any then
    remade = {"head-missing", "ledger-rewritten"}
    with receipts(run) as lines:
        for line in lines:
            line["heads"] = {}
    assert ids(audit(run, ledgers), "critical") - remade == {"suite-broken"}


def test_the_servers_word_that_it_was_a_simulation_excuses_nothing(tmp_path: Path) -> None:
    """The report is the server's own; what the sites signed says that the run was real."""
    run = served(tmp_path, TEXT, names=NAMES)
    with receipts(run) as lines:
        for line in lines:
            del line["suite"]
    edited = edited_report(run, lambda report: report.update(simulated=True))
    assert "suite-broken" in ids(edited, "critical")
    journals = [tmp_path / name / "own.sqlite" for name in NAMES]
    assert "suite-broken" in ids(audit(run, journals), "critical")


def test_a_roster_under_the_label_of_the_broken_suite_tells_against_the_receipts(tmp_path: Path) -> None:
    run = served(tmp_path, TEXT, names=NAMES)
    as_the_broken_suite_left_it(tmp_path, run)
    with receipts(run) as lines:
        for line in lines:
            line["suite"] = SUITE
    assert "suite-broken" in ids(audit(run), "critical")


def test_a_stray_signature_of_the_broken_suite_changes_nothing(tmp_path: Path) -> None:
    run = served(tmp_path, TEXT, names=NAMES)
    signed = load_roster(run / "roster.toml")
    older = replace(Roster.from_bytes(signed.roster), suite=BROKEN)
    stray = SignedRoster.by(older, [Ed25519PrivateKey.generate()]).signatures
    write_roster(run / "roster.toml", SignedRoster(signed.roster, {**signed.signatures, **stray}))
    assert not ids(audit(run)) & {*SUITES, "ledger-roster"}


def test_where_no_ledger_says_so_the_suite_is_said_to_be_the_servers_word(tmp_path: Path) -> None:
    run = served(tmp_path, TEXT, names=NAMES)
    assert any(f"secagg/{SUITE}" in line for line in audit(run).not_checked)
    journals = [tmp_path / name / "own.sqlite" for name in NAMES]
    assert not any(f"secagg/{SUITE}" in line for line in audit(run, journals).not_checked)


@pytest.mark.parametrize(("size", "is_exposed"), [(3, False), (4, True)])
def test_a_cohort_that_can_lose_nobody_was_not_exposed(size: int, is_exposed: bool) -> None:
    """With three sites the quorum is all of them, whatever `dropouts` says."""
    names = tuple(f"site-{slot}" for slot in range(size))
    line = Receipt(1, names, names, "", "", 0.0, {}, {}, {}, frozenset())
    gathered = Findings()
    told = Receipts(suites={BROKEN}, lines=[line])
    check_suites(parse(TEXT), told, {}, None, set(), gathered)
    (finding,) = gathered.sorted()
    assert finding.id == ("suite-broken" if is_exposed else "suite-outdated")


def test_no_server_calls_a_run_of_today_older_to_be_rid_of_what_shows_its_sums(tmp_path: Path) -> None:
    """The roster was signed for this suite, under which sites consent, and every sum has a transcript."""
    home = served(tmp_path, TEXT, names=NAMES)
    rmtree(home / "rounds")
    (home / "consents.jsonl").unlink()
    with receipts(home) as lines:
        for line in lines:
            line["suite"] = OLDER
            line.pop("transcript", None)
    kept = {"kept": 0, "left_out": f"the run was made with secagg/{OLDER}, under which nothing was kept"}
    result = edited_report(home, lambda report: report.update(transcripts=kept))
    assert {"transcript-missing", "consent-missing"} <= ids(result, "critical")
