"""Leaving a run on purpose: from that moment on, for good, whether the site is running or not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from clients.approvals import open_journal
from clients.leaving import about, leave
from clients.policy import load_site
from federation.errors import InputError, UnusableFile
from federation.ledger.export import load_entries
from federation.ledger.statement import statement
from federation.round.messages import Frame, Kind, Reason
from federation.round.terms import evaluation_run
from privacy.accounting.units import Charge
from privacy.errors import LedgerRefusal, RunLeft
from privacy.ledger.limits import LEFT
from privacy.ledger.state import fold
from tests.clients import sites as cohort
from tests.clients.sites import FIVE, RUN, Round, hello, invite, joined, make_plan, make_terms, refused
from tests.clients.test_join import SITE, write_site

PLAN = make_plan()
CHARGE, ROUNDS = PLAN.charges[0], PLAN.federation.rounds
NAME = RUN.hex()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with room for several runs, so that each is admitted by the filter."""
    return write_site(tmp_path, SITE.replace("epsilon_max = 8.0", "epsilon_max = 50.0"))


def reserve(site: Path, begun: int, run: str = NAME, charge: Charge = CHARGE) -> None:
    rules = load_site(site)
    with closing(open_journal(rules)) as journal:
        journal.reserve(run, PLAN.digest, charge, ROUNDS, rules.policy.limits())
        for number in range(1, begun + 1):
            journal.begin(run, number, "question")


# What stays charged.


def test_rounds_begun_stay_charged_and_the_others_are_given_back_as_was_said(site: Path) -> None:
    reserve(site, 2)
    reserve(site, 0, "ab" * 16)  # another run of the site goes on
    said = about(site, NAME)
    assert (said.run, said.rounds, said.begun, said.returned) == (NAME, ROUNDS, 2, ROUNDS - 2)
    assert said.after["record"] < said.before["record"]
    assert about(site, NAME[:8]).run == NAME, "nothing is changed by asking"
    leave(site, said)
    account = fold(load_entries(load_site(site).journal))
    assert account.epsilon("record") == said.after["record"]
    run, other = account.runs[NAME], account.runs["ab" * 16]
    assert (run.closed, run.charged) == (LEFT, CHARGE.with_count(CHARGE.event.count // ROUNDS * 2))  # type: ignore[union-attr]
    assert (other.closed, other.charged) == (None, CHARGE)
    told = {row["run"]: row for row in statement(load_entries(load_site(site).journal))["runs"]}
    assert (told[NAME]["left"], told["ab" * 16]["left"]) == (True, False)


def test_nothing_is_given_back_where_the_limit_had_room_for_the_plan_only(site: Path) -> None:
    sampled = make_plan(sample_rate=0.5)
    site.write_text(
        site.read_text().replace("epsilon_max = 50.0", f"epsilon_max = {sampled.privacy.epsilon}")
    )
    reserve(site, 1, charge=sampled.charges[0])
    said = about(site, NAME)
    assert (said.is_whole, said.returned) == (True, 0)
    assert said.before == said.after
    leave(site, said)
    assert fold(load_entries(load_site(site).journal)).epsilon("record") == said.after["record"]


def test_the_evaluation_of_a_run_is_left_with_it(site: Path) -> None:
    reserve(site, 1)
    reserve(site, 0, evaluation_run(NAME))
    leave(site, about(site, NAME))
    runs = fold(load_entries(load_site(site).journal)).runs
    assert {run.closed for run in runs.values()} == {LEFT}


# That it is for good.


def test_nothing_of_the_run_takes_place_any_more_in_whatever_process(site: Path) -> None:
    reserve(site, 1)
    rules = load_site(site)
    with closing(open_journal(rules)) as running:
        running.release(NAME, 1, b"released", bytes.hex)
        leave(site, about(site, NAME))
        steps = (
            lambda: running.reserve(NAME, PLAN.digest, CHARGE, ROUNDS, rules.policy.limits()),
            lambda: running.begin(NAME, 1, "question"),
            lambda: running.begin(NAME, 2, "question"),
            lambda: running.release(NAME, 1, b"released", bytes.hex),
            lambda: running.mask(NAME, 1, 1, suite=3),
            lambda: running.reveal(NAME, 1, "survivors"),
            lambda: running.close_run(NAME, "00" * 32),
            lambda: running.require_present(NAME),
        )
        for step in steps:
            with pytest.raises(RunLeft, match="has left the run"):
                step()


def test_a_run_is_left_once_and_only_if_it_is_open(site: Path) -> None:
    with pytest.raises(UnusableFile, match="no journal yet"):
        about(site, NAME)
    reserve(site, 1)
    reserve(site, 0, NAME[:8] + "f" * 24)
    with pytest.raises(InputError, match="more than one run"):
        about(site, NAME[:8])
    for unknown in ("ff" * 16, "", NAME[:3]):
        with pytest.raises(InputError, match=r"federation ledger show|no run|more than one"):
            about(site, unknown)
    leave(site, about(site, NAME))
    with pytest.raises(LedgerRefusal, match="left already"):
        about(site, NAME)
    with closing(open_journal(load_site(site))) as journal:
        journal.close_run(NAME[:8] + "f" * 24, "00" * 32)
    with pytest.raises(LedgerRefusal, match="is over"):
        about(site, NAME[:8] + "f" * 24)


# What the server sees of it.


def test_a_running_site_refuses_further_rounds_with_the_reason_that_says_so(tmp_path: Path) -> None:
    plan = make_plan()
    sites = joined(tmp_path, plan)
    first = Round(make_terms(plan), sites).play()
    assert first.coordinator.result is not None
    sites["berlin"].journal.abandon_run(NAME, LEFT, evaluation_run(NAME))
    second = invite(make_terms(plan, round=2, attempt=2))
    assert refused(sites["berlin"], second) is Reason.LEFT
    assert refused(sites["berlin"], hello(plan)) is Reason.LEFT
    assert refused(sites["berlin"], cohort.closing(plan, b"\x01" * 32)) is Reason.LEFT
    assert Frame.from_bytes(sites["cleveland"].receive(second)).kind is Kind.ADVERT


def test_a_site_that_left_in_the_middle_of_a_round_is_lost_to_it(tmp_path: Path) -> None:
    plan = make_plan(dropouts=1)
    sites = joined(tmp_path, plan, FIVE)

    def leave_after_masking(name: str, frame: Frame) -> Frame:
        if (name, frame.kind) == ("berlin", Kind.CERTIFICATE):
            sites["berlin"].journal.abandon_run(NAME, LEFT, evaluation_run(NAME))
        return frame

    played = Round(make_terms(plan, FIVE), sites).play(alter=leave_after_masking)
    assert played.coordinator.result is not None
    assert played.coordinator.survivors == tuple(sorted(FIVE)), "what it gave to the sum stays in it"
    assert Frame.from_bytes(played.replies["berlin", Kind.CERTIFICATE]).kind is Kind.ABORT
