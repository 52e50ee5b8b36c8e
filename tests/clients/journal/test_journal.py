"""The journal: charged before anything, the same bytes after a crash, limits that hold, and no way around."""

from __future__ import annotations

import dataclasses
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.journal.journal import Journal
from federation.ledger import store
from privacy.accounting.events import GaussianEvent, NonPrivateEvent
from privacy.accounting.filters import Budget, Filter
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Charge, Limit, Patient
from privacy.errors import (
    BudgetExceeded,
    FaultyServer,
    JournalMisuse,
    LedgerCorrupt,
    LedgerRefusal,
    PolicyViolation,
    PrivacyError,
    ProtocolError,
    UnsafeParameters,
)
from privacy.ledger import chain as ledger
from privacy.ledger.approvals import Proposal, approve
from privacy.ledger.heads import Head
from privacy.ledger.state import fold
from tests.clients.journal.journals import LIMITS, kinds, opened, release, reserve, spent, statement
from tests.privacy.ledger.ledgers import ANNA, BERT, GENESIS, KEY, LIMIT, PEER, PLAN, head


def record(noise: float, count: int = 100, rate: float = 1.0) -> Charge:
    return Charge(GaussianEvent(noise, rate, count), "record", summed=False)


def limit(value: float, delta: float = 1e-5) -> Limit:
    return Limit("record", Budget(value, delta))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def empty(path: Path) -> Iterator[Journal]:
    with closing(opened(path)) as journal:
        yield journal


@pytest.fixture
def journal(empty: Journal) -> Journal:
    reserve(empty)
    return empty


RESERVED = ["genesis", "budget", "reserve"]


def test_a_round_leaves_its_trace_and_survives_closing(path: Path, journal: Journal) -> None:
    release(journal, 1, b"noised")
    journal.mask("run", 1, 1, suite=2)
    journal.reveal("run", 1, "survivors")
    before = journal.entries()
    journal.close()
    again = opened(path)
    assert again.entries() == before
    assert kinds(again) == [*RESERVED, "begin", "release", "mask", "reveal"]
    assert again.begin("run", 1, "question") == b"noised"
    assert again.rounds_begun("run") == 1
    assert again.rounds_begun("another") == 0
    again.close()


def test_a_new_journal_is_its_owners_alone_and_leaves_no_draft(path: Path) -> None:
    opened(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


# Plans are charged.


def test_a_plan_is_charged_whole_and_once(journal: Journal) -> None:
    reserve(journal)
    assert kinds(journal) == RESERVED
    assert spent(journal) == spent(journal, "record", 1e-5) == epsilon([PLAN.event], 1e-5)
    assert spent(journal, "record", 1e-6) == epsilon([PLAN.event], 1e-6)
    assert fold(journal.entries()).charged("record") == (PLAN.event,)


def test_nothing_is_spent_before_there_is_a_limit(empty: Journal) -> None:
    assert spent(empty) == spent(empty, "patient") == 0.0
    with pytest.raises(PolicyViolation, match="no limit is set"):
        reserve(empty, limits=())
    assert kinds(empty) == ["genesis"]


def test_a_run_keeps_the_plan_it_was_reserved_for(journal: Journal) -> None:
    changes: list[tuple[str, Charge, int]] = [
        ("other", PLAN, 100),
        ("plan", record(21.0), 100),
        ("plan", dataclasses.replace(PLAN, summed=True), 100),
        ("plan", dataclasses.replace(PLAN, protects="client"), 100),
        ("plan", PLAN, 50),
    ]
    for changed in changes:
        with pytest.raises(LedgerRefusal, match="another plan"):
            journal.reserve("run", *changed, LIMITS)


@pytest.mark.parametrize(("count", "rounds"), [(100, 0), (100, -1), (100, 101), (100, 7), (0, 1), (0, 0)])
def test_rounds_that_are_not_all_charged_the_same_are_refused(
    empty: Journal, count: int, rounds: int
) -> None:
    """DP-46: a negative or empty charge reserves nothing."""
    with pytest.raises(UnsafeParameters):
        reserve(empty, charge=record(20.0, count), rounds=rounds)
    assert kinds(empty) == ["genesis"]


def test_runs_add_up_and_the_one_past_the_budget_is_refused_in_writing(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded, match=r"per record.* budget is epsilon 3 .* 1.993 is spent"):
        reserve(journal, "second", record(10.0))
    assert kinds(journal) == [*RESERVED, "refuse"]
    assert journal.entries()[-1].body["unit"] == "record"
    with pytest.raises(LedgerRefusal, match="no reservation"):
        journal.begin("second", 1, "question")
    assert spent(journal) == epsilon([PLAN.event], 1e-5)
    reserve(journal, "third", record(100.0))


def test_a_server_that_asks_for_ever_does_not_make_the_ledger_grow(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry for a plan and unit, whatever the run is called; so many plans, after a restart too."""
    for number in range(50):
        with pytest.raises(BudgetExceeded):
            reserve(journal, f"run {number}", record(10.0))
        with pytest.raises(BudgetExceeded):
            journal.require_room(f"run {number}", "plan", [record(10.0)], LIMITS)
    assert kinds(journal) == [*RESERVED, "refuse"]
    monkeypatch.setattr("privacy.ledger.state.MAX_REFUSALS", 3)
    for book in (journal, opened(path)):
        for number in range(10):
            with pytest.raises(BudgetExceeded):
                book.require_room("other", f"sha256:{number}", [record(10.0)], LIMITS)
        assert kinds(book) == [*RESERVED, "refuse", "refuse", "refuse"]


def test_fresh_runs_that_lead_to_nothing_do_not_make_the_ledger_grow(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that is approved by its task alone, reserved under fresh names and closed before its first round."""
    monkeypatch.setattr("privacy.ledger.limits.MAX_IDLE", 5)
    journal.close_run("run", "00" * 32)
    before = len(journal.entries())

    def asked(name: str, most: int | None = None) -> None:
        journal.reserve(name, "plan", record(100.0), 20, LIMITS, most)

    for number in range(4):
        asked(f"fresh {number}")
        journal.close_run(f"fresh {number}", "00" * 32)
    for number in range(20):
        with pytest.raises(LedgerRefusal, match=r"of the last 5 runs no round was ever begun.*policy\.plans"):
            asked(f"more {number}")
    assert len(journal.entries()) == before + 8
    asked("approved by its digest", most=100)
    asked("approved by its digest/evaluation")  # an evaluation belongs to a run that was approved
    journal.begin("approved by its digest", 1, "question")
    asked("once more")  # a round makes room again


def test_plans_that_nobody_read_are_worked_on_only_so_often(
    path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each new plan is seconds of accounting; those that were refused are on record, also after a restart."""
    monkeypatch.setattr("privacy.ledger.limits.MAX_REFUSALS", 3)
    for number in range(3):
        with pytest.raises(BudgetExceeded):
            journal.reserve("other", f"sha256:{number}", record(10.0), 20, LIMITS)
    for book in (journal, opened(path)):
        with pytest.raises(LedgerRefusal, match="3 plans were refused that nobody here had read"):
            book.require_approved("other", "sha256:new", None)
        book.require_approved("other", "sha256:2", None)
        book.require_approved("other", "sha256:new", 1)


def test_two_jobs_compose_and_the_third_is_refused_in_writing(journal: Journal) -> None:
    """DP-43: what is charged to one pool adds up over jobs, as one mechanism would."""
    reserve(journal, "second", record(25.0))
    assert spent(journal) == epsilon([PLAN.event, record(25.0).event], 1e-5) <= 3.0
    with pytest.raises(BudgetExceeded):
        reserve(journal, "third", record(25.0))
    assert kinds(journal) == [*RESERVED, "reserve", "refuse"]
    refused = journal.entries()[-1].body
    assert (refused["run"], refused["charge"]) == ("third", record(25.0).to_json())


def test_a_refused_first_plan_settles_no_limit(empty: Journal) -> None:
    with pytest.raises(BudgetExceeded):
        reserve(empty, charge=record(5.0))
    assert kinds(empty) == ["genesis", "refuse"]
    reserve(empty, limits=[limit(2.5)])
    assert kinds(empty) == ["genesis", "refuse", "budget", "reserve"]


def test_a_reservation_without_noise_ends_all_privacy(path: Path, journal: Journal) -> None:
    bare = Charge(NonPrivateEvent(), "record", summed=False)
    with pytest.raises(BudgetExceeded):
        reserve(journal, "open", bare, rounds=10)
    with closing(opened(path.with_name("other.sqlite"))) as free:
        reserve(free, "open", bare, [limit(float("inf"))], rounds=10)
        assert spent(free) == float("inf")
        with pytest.raises(BudgetExceeded):
            reserve(free, "late", record(1e5, 1), [limit(100.0)], rounds=1)


# Limits: the stricter of ledger and policy, unit by unit.


def test_the_first_limit_of_a_unit_is_on_record_before_its_first_reservation(journal: Journal) -> None:
    budget = journal.entries()[1].body
    assert (budget["unit"], budget["epsilon"], budget["approvals"]) == ("record", 3, [])
    patients = Limit("patient", Budget(30.0, 1e-5), Patient(2, 1))
    reserve(journal, "second", record(100.0), [LIMIT, patients])
    assert kinds(journal) == [*RESERVED, "budget", "reserve"]
    assert journal.entries()[3].body["unit"] == "patient"
    assert set(journal.entries()[4].body["by"]) == {"record", "patient"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "looser", [limit(3.001), limit(float("inf")), limit(3.0, 1.001e-5), limit(2.0, 1e-4), limit(5.0, 1e-7)]
)
def test_a_policy_looser_than_the_ledger_is_refused(journal: Journal, looser: Limit) -> None:
    begun = kinds(journal)
    for attempt in (
        lambda: reserve(journal, "second", record(1000.0), [looser]),
        lambda: journal.begin("run", 1, "question", [looser]),
        lambda: journal.begin("run", 1, "question", [LIMIT, looser]),
    ):
        with pytest.raises(PolicyViolation, match=r"allows more per record .* federation ledger propose"):
            attempt()
    assert kinds(journal) == begun


def test_a_milder_word_on_what_a_patient_holds_is_looser(empty: Journal) -> None:
    patients = Limit("patient", Budget(30.0, 1e-5), Patient(2, 2))
    reserve(empty, charge=record(100.0), limits=[LIMIT, patients])
    for patient in (Patient(1, 2), Patient(2, 1), Patient(1, 9)):
        with pytest.raises(PolicyViolation, match="allows more per patient"):
            reserve(empty, "second", record(100.0), [LIMIT, dataclasses.replace(patients, patient=patient)])


def test_a_stricter_policy_holds_without_a_word_in_the_ledger(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded, match=r"budget is epsilon 2\.2 "):
        reserve(journal, "second", record(40.0), [limit(2.2)])
    with pytest.raises(BudgetExceeded):
        reserve(journal, "second", record(40.0), [limit(3.0, 1e-9)])
    reserve(journal, "second", record(40.0))
    assert kinds(journal).count("budget") == 1


def test_a_unit_with_a_limit_on_record_stays_limited_though_the_policy_forgets_it(empty: Journal) -> None:
    patients = Limit("patient", Budget(2.5, 1e-5), Patient(1, 1))
    reserve(empty, charge=record(40.0), limits=[limit(30.0), patients])
    with pytest.raises(BudgetExceeded, match="per patient"):
        reserve(empty, "second", record(10.0), [limit(30.0)])


def test_of_two_limits_for_one_unit_the_stricter_counts(empty: Journal) -> None:
    with pytest.raises(BudgetExceeded, match="budget is epsilon 1 "):
        reserve(empty, limits=[limit(3.0), limit(1.0)])


def test_a_policy_tightened_below_what_is_charged_stops_the_next_round(journal: Journal) -> None:
    assert journal.begin("run", 1, "question", [limit(2.9)]) is None
    with pytest.raises(PolicyViolation, match="what is charged already"):
        journal.begin("run", 2, "question", [limit(1.0)])
    with pytest.raises(PolicyViolation, match="what is charged already"):
        journal.begin("run", 2, "question", [LIMIT, Limit("patient", Budget(1.0, 1e-5), Patient(9, 1))])
    journal.release("run", 1, b"noised")
    with pytest.raises(PolicyViolation, match="what is charged already"):
        journal.begin("run", 1, "question", [limit(1.0)])  # nor does what was released leave again
    assert journal.begin("run", 1, "question", LIMITS) == b"noised"
    assert kinds(journal) == [*RESERVED, "begin", "release"]


SAMPLED = record(2.0, 200, 0.05)


def admitted_as_a_whole() -> tuple[Charge, float]:
    """A sampled plan, and an epsilon that holds it as a whole though the filter by itself would not."""
    for step in range(101, 160):
        budget = Budget(round(epsilon([SAMPLED.event], 1e-5) * step / 100, 3), 1e-5)
        if Filter.frozen(budget, SAMPLED.event).load([SAMPLED.event], budget) > 1.02:
            return SAMPLED, budget.epsilon
    raise AssertionError("the filter is as good as PLD")


def test_a_plan_admitted_as_a_whole_runs_but_is_never_returned(empty: Journal) -> None:
    plan, whole = admitted_as_a_whole()
    reserve(empty, charge=plan, limits=[limit(whole)], rounds=200)
    assert empty.entries()[-1].body["by"] == {"record": "plan"}
    assert empty.begin("run", 1, "question", [limit(whole)]) is None
    with pytest.raises(PolicyViolation, match="what is charged already"):
        empty.begin("run", 2, "question", [limit(epsilon([plan.event], 1e-5) - 0.001)])
    empty.close_run("run", "params")
    assert spent(empty) == epsilon([plan.event], 1e-5)
    with pytest.raises(BudgetExceeded):
        reserve(empty, "second", record(1e4, 1, 0.02), [limit(whole)], rounds=1)


def test_a_plan_admitted_as_a_whole_goes_on_after_the_budget_was_raised_for_another(empty: Journal) -> None:
    plan, whole = admitted_as_a_whole()
    reserve(empty, charge=plan, limits=[limit(whole)], rounds=200)
    raise_to(empty, limit(10 * whole))
    reserve(empty, "second", record(10.0, 1, 0.05), [limit(10 * whole)], rounds=1)
    assert empty.begin("run", 1, "question", [limit(10 * whole)]) is None
    with pytest.raises(PolicyViolation, match="what is charged already"):
        empty.begin("run", 2, "question", [limit(whole)])  # no longer alone: the filter counts


def test_concurrent_jobs_are_admitted_by_one_frozen_filter(empty: Journal) -> None:
    """DP-47: the filter is settled with the budget; neither the order of jobs nor a raise changes it."""
    budget = Budget(4.0, 1e-5)
    admitted = list[str]()
    for number, noise in enumerate((1.0, 1.5, 0.9, 3.0, 1.0, 1.0, 1.0, 1.0)):
        run = f"run {number}"
        try:
            reserve(empty, run, record(noise, 200, 0.02), [Limit("record", budget)], rounds=50)
        except BudgetExceeded:
            continue
        admitted.append(run)
        for name in admitted:  # all at once, one round each
            empty.begin(name, number + 1, "question", [Limit("record", budget)])
    account = fold(empty.entries())
    frozen = Filter.frozen(budget, record(1.0, 200, 0.02).event)
    assert [e.body["filter"] for e in empty.entries() if e.kind == "budget"] == [frozen.to_json()]
    assert 1 < len(admitted) < 8
    assert frozen.load(account.charged("record"), budget) <= 1
    assert epsilon(account.charged("record"), 1e-5) <= 4.0
    raise_to(empty, Limit("record", Budget(20.0, 1e-5)))
    assert fold(empty.entries()).terms["record"].filter == frozen


# Budgets are raised by two.


def raise_to(journal: Journal, larger: Limit) -> Proposal:
    proposal = journal.propose(larger, "the board agreed")
    journal.raise_budget(proposal, [approve(proposal, ANNA), approve(proposal, BERT)])
    return proposal


def test_two_approvers_raise_a_budget_once(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded):
        reserve(journal, "second", record(10.0))
    proposal = raise_to(journal, limit(6.0))
    with pytest.raises(BudgetExceeded):
        reserve(journal, "second", record(10.0))  # the policy is still the stricter
    reserve(journal, "second", record(10.0), [limit(6.0)])
    with pytest.raises(LedgerRefusal, match="no longer in force"):
        journal.raise_budget(proposal, [approve(proposal, ANNA), approve(proposal, BERT)])
    assert kinds(journal).count("budget") == 2


def test_fewer_or_other_signatures_raise_nothing(path: Path, journal: Journal) -> None:
    proposal = journal.propose(limit(6.0), "more")
    anna, bert, peer = (approve(proposal, key) for key in (ANNA, BERT, PEER))
    for wrong in ([], [anna], [anna, anna], [anna, peer], [anna, bert, peer]):
        with pytest.raises(LedgerRefusal, match="two approvers"):
            journal.raise_budget(proposal, wrong)
    for change in ({"ledger": bytes(32)}, {"site": "south"}, {"after": bytes(32)}):
        other = dataclasses.replace(proposal, **change)  # type: ignore[arg-type]
        with pytest.raises(LedgerRefusal, match="another ledger"):
            journal.raise_budget(other, [approve(other, ANNA), approve(other, BERT)])
    with closing(opened(path.with_name("none.sqlite"), approvers=())) as alone:
        reserve(alone)
        proposal = alone.propose(limit(6.0), "more")
        with pytest.raises(LedgerRefusal, match="two approvers"):
            alone.raise_budget(proposal, [approve(proposal, ANNA), approve(proposal, BERT)])
    assert kinds(journal) == RESERVED


# Rounds.


def test_a_begun_round_may_be_computed_again_until_it_is_released(journal: Journal) -> None:
    """DP-37: a replayed request gets the bytes it got before, and no second sample."""
    assert journal.begin("run", 1, "question") is None
    assert journal.begin("run", 1, "question") is None
    journal.release("run", 1, b"noised")
    assert journal.begin("run", 1, "question") == b"noised"
    journal.release("run", 1, b"noised")
    assert journal.begin("run", 1, "question") == b"noised"
    assert kinds(journal) == [*RESERVED, "begin", "release"]


def test_a_second_draw_for_one_charge_is_refused_even_between_two_processes(
    path: Path, journal: Journal
) -> None:
    other = opened(path)
    assert journal.begin("run", 1, "question") is None
    assert other.begin("run", 1, "question") is None
    other.release("run", 1, b"first")
    with pytest.raises(LedgerRefusal, match="other noise"):
        journal.release("run", 1, b"second")
    assert journal.begin("run", 1, "question") == b"first"
    other.close()


def test_another_question_for_a_begun_round_is_refused(journal: Journal) -> None:
    """DP-38: other params or another cohort are a second look at the data, and take a round of their own."""
    journal.begin("run", 1, "question")
    with pytest.raises(LedgerRefusal, match="other params or cohort"):
        journal.begin("run", 1, "crafted")
    journal.release("run", 1, b"noised")
    with pytest.raises(LedgerRefusal, match="other params or cohort"):
        journal.begin("run", 1, "crafted")
    assert journal.begin("run", 2, "crafted") is None


def test_a_round_whose_bytes_are_no_longer_kept_is_over(journal: Journal) -> None:
    release(journal, 1, b"one")
    release(journal, 2, b"two")
    with pytest.raises(LedgerRefusal, match="is over"):
        journal.begin("run", 1, "question")
    assert journal.begin("run", 2, "question") == b"two"


def test_rounds_outside_the_reservation_are_refused(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded, match="101"):
        journal.begin("run", 101, "question")
    with pytest.raises(JournalMisuse):
        journal.begin("run", 0, "question")
    with pytest.raises(LedgerRefusal, match="no reservation"):
        journal.begin("unknown", 1, "question")
    with pytest.raises(JournalMisuse, match="not begun"):
        journal.release("run", 1, b"early")
    assert kinds(journal) == RESERVED


def test_a_sum_is_opened_for_one_set_of_survivors(journal: Journal) -> None:
    with pytest.raises(ProtocolError, match="not released"):
        journal.reveal("run", 1, "all")
    release(journal, 1, b"noised")
    journal.reveal("run", 1, "all")
    journal.reveal("run", 1, "all")
    with pytest.raises(ProtocolError, match="other survivors"):
        journal.reveal("run", 1, "all but one")
    assert kinds(journal).count("reveal") == 1


def test_an_attempt_is_masked_once_and_none_before_it_again(path: Path, journal: Journal) -> None:
    release(journal, 1, b"noised")
    journal.mask("run", 1, 2, suite=2)
    for over in (2, 1, 0, -1):
        with pytest.raises(LedgerRefusal, match=f"attempt {over} at round 1 is over; begin another"):
            journal.mask("run", 1, over, suite=2)
    other = opened(path)  # another process, or this one after it was killed
    with pytest.raises(LedgerRefusal, match="attempt 2 at round 1 is over"):
        other.mask("run", 1, 2, suite=2)
    other.mask("run", 1, 7, suite=2)
    for over in (2, 3, 7):
        with pytest.raises(LedgerRefusal, match="is over"):
            journal.mask("run", 1, over, suite=2)
    journal.mask("run", 1, 8, suite=2)
    assert [entry.body["attempt"] for entry in journal.entries() if entry.kind == "mask"] == [2, 7, 8]
    other.close()


def test_attempts_are_counted_for_each_round_and_run_by_itself(journal: Journal) -> None:
    reserve(journal, "second", record(100.0))
    release(journal, 1, b"one")
    journal.mask("run", 1, 5, suite=2)
    release(journal, 2, b"two")
    journal.mask("run", 2, 1, suite=2)
    release(journal, 1, b"other", "second")
    journal.mask("second", 1, 1, suite=2)
    assert kinds(journal).count("mask") == 3


def test_what_was_not_released_is_not_masked(journal: Journal) -> None:
    with pytest.raises(LedgerRefusal, match="no reservation"):
        journal.mask("unknown", 1, 1, suite=2)
    with pytest.raises(JournalMisuse, match="not released"):
        journal.mask("run", 1, 1, suite=2)
    journal.begin("run", 1, "question")
    with pytest.raises(JournalMisuse, match="not released"):
        journal.mask("run", 1, 1, suite=2)
    assert kinds(journal) == [*RESERVED, "begin"]


def test_threads_may_share_a_journal(journal: Journal) -> None:
    def rounds(start: int) -> None:
        for number in range(start, 41, 4):
            journal.begin("run", number, "question", LIMITS, [head(number)])

    threads = [threading.Thread(target=rounds, args=(start,)) for start in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.rounds_begun("run") == 40
    fold(journal.entries())


# A run ends.


def test_rounds_never_begun_are_returned_when_the_run_is_closed(journal: Journal) -> None:
    for number in (1, 2, 3):
        release(journal, number, b"noised")
    assert journal.begin("run", 4, "question") is None
    journal.close_run("run", "params")
    journal.close_run("run", "params")
    assert spent(journal) == epsilon([record(20.0, 4).event], 1e-5)
    assert kinds(journal)[-2:] == ["begin", "close"]
    reserve(journal, "second", record(21.0))


def test_nothing_more_happens_in_a_closed_run(journal: Journal) -> None:
    """DP-46: what was begun stays charged, and nothing begins for free afterwards."""
    release(journal, 1, b"noised")
    journal.begin("run", 2, "question")
    journal.close_run("run", "params")
    acts: list[Any] = [
        lambda: journal.begin("run", 1, "question"),
        lambda: journal.begin("run", 2, "question"),
        lambda: journal.begin("run", 3, "question"),
        lambda: journal.release("run", 2, b"late"),
        lambda: journal.mask("run", 1, 1, suite=2),
        lambda: journal.reveal("run", 1, "all"),
    ]
    for act in acts:
        with pytest.raises(LedgerRefusal, match="this run is closed"):
            act()
    with pytest.raises(LedgerRefusal, match="other params"):
        journal.close_run("run", "others")
    with pytest.raises(LedgerRefusal, match="no reservation"):
        journal.close_run("unknown", "params")
    reserve(journal)  # the same again is still free, and opens nothing
    assert kinds(journal) == [*RESERVED, "begin", "release", "begin", "close"]
    assert statement(journal, "SELECT count(*) FROM releases") == (0,)  # nobody will ask again


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "begin", "begin", "release", "close", "reopen"]),
        st.sampled_from(["a", "b", "c", "d"]),
        st.integers(1, 4),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(ACTS)
def test_whatever_is_asked_in_whatever_order_released_is_charged_and_within_the_budget(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, str, int]]
) -> None:
    """DP-46: against the journal itself, refusals, restarts and all."""
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    journal, left = opened(path), dict[tuple[str, int], bytes]()
    for kind, run, number in acts:
        try:
            if kind == "reserve":
                reserve(journal, run, record(4.5, 4), rounds=4)  # three of them, not four
            elif kind == "begin":
                journal.begin(run, number, "question", LIMITS)
            elif kind == "release":
                payload = f"{len(left)}".encode()
                journal.release(run, number, payload)
                left[run, number] = payload
            elif kind == "close":
                journal.close_run(run, "params")
            else:
                journal.close()
                journal = opened(path)
        except PrivacyError:
            continue
    account = fold(journal.entries())
    charged = {run: known.charged for run, known in account.runs.items()}
    for run in {run for run, _ in left}:
        event = charged[run].event  # type: ignore[union-attr]
        assert isinstance(event, GaussianEvent)
        assert event.count >= sum(name == run for name, _ in left)
    total = epsilon([record(4.5, 1).event] * len(left), 1e-5)
    assert total <= spent(journal) <= 3.0
    journal.close()


# Witnesses.


def test_a_head_is_where_the_ledger_ends(journal: Journal) -> None:
    shown = journal.head()
    last = journal.entries()[-1]
    assert (shown.site, shown.seq, shown.hash) == ("north", last.seq, last.hash)
    assert shown.is_signed_by(GENESIS.key)
    journal.begin("run", 1, "question", heads=[shown])
    assert journal.head().seq == shown.seq + 1
    assert kinds(journal) == [*RESERVED, "begin"]


def test_what_peers_show_is_put_on_record_with_the_round_and_once(journal: Journal) -> None:
    heads = [head(4), head(9, "east"), head(3), journal.head()]
    journal.begin("run", 1, "question", LIMITS, heads)
    assert kinds(journal) == [*RESERVED, "witness", "begin"]
    body: Any = journal.entries()[3].body["heads"]
    assert {site: row["seq"] for site, row in body.items()} == {"south": 4, "east": 9}
    journal.begin("run", 2, "question", LIMITS, heads)
    journal.witness(heads)
    assert kinds(journal) == [*RESERVED, "witness", "begin", "begin"]
    journal.witness([head(5), head(8, "east")])
    assert kinds(journal)[-1] == "witness"
    body = journal.entries()[-1].body["heads"]
    assert list(body) == ["south"]


def test_a_refused_round_witnesses_nothing(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded):
        journal.begin("run", 101, "question", heads=[head(4)])
    assert kinds(journal) == RESERVED


def copied(path: Path, to: Path) -> None:
    to.write_bytes(path.read_bytes())


def test_a_restored_copy_charges_nothing_once_it_is_shown_its_own_newest_head(
    path: Path, journal: Journal
) -> None:
    """DP-34: restore old snapshot; by the site's own head, before a round, a resend or alone."""
    release(journal, 1, b"one")
    journal.close()
    snapshot = path.with_name("snapshot.sqlite")
    copied(path, snapshot)
    with closing(opened(path)) as later:
        release(later, 2, b"two")
        shown = later.head()
    copied(snapshot, path)
    with closing(opened(path)) as restored:
        before = restored.entries()
        acts: list[Any] = [
            lambda: restored.begin("run", 2, "question", LIMITS, [shown]),
            lambda: restored.begin("run", 1, "question", LIMITS, [shown]),
            lambda: restored.witness([head(4), shown]),
        ]
        for act in acts:
            with pytest.raises(LedgerCorrupt, match="an older copy was restored"):
                act()
        assert restored.entries() == before
        release(restored, 2, b"other noise")  # the control: nobody showed it anything
        with pytest.raises(LedgerCorrupt):
            restored.witness([shown])


def test_a_deleted_journal_starts_no_new_budget_where_it_is_remembered(path: Path, journal: Journal) -> None:
    """DP-34: made anew for the same pool by the same site, it has the same tag and another chain."""
    shown = journal.head()
    journal.close()
    path.unlink()
    with closing(opened(path)) as anew:
        reserve(anew, "run two")
        with pytest.raises(LedgerCorrupt):
            anew.begin("run two", 1, "question", LIMITS, [shown])


def test_a_forged_head_of_this_site_accuses_the_server(journal: Journal) -> None:
    forged = Head.signed("north", GENESIS.ledger, journal.entries()[0], PEER)
    with pytest.raises(FaultyServer):
        journal.begin("run", 1, "question", heads=[forged])
    other = Head.signed("north", bytes(32), journal.entries()[0], KEY)  # of another pool: no business of ours
    assert journal.begin("run", 1, "question", heads=[other]) is None


# Time, rosters.


def test_no_clock_has_any_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DP-40: ten years forward or back, the ledger is the same to the last byte."""
    chains = []
    monkeypatch.setattr(store.os, "urandom", bytes)  # the blinds
    for years in (0, 10, -10):
        now = time.time() + years * 365.25 * 86400
        for name in ("time", "monotonic"):
            monkeypatch.setattr(time, name, lambda now=now: now)
        with closing(opened(tmp_path / f"{years}.sqlite")) as journal:
            reserve(journal)
            release(journal, 1, b"noised")
            with pytest.raises(BudgetExceeded):
                reserve(journal, "second", record(10.0))
            chains.append(journal.entries())
    assert chains[0] == chains[1] == chains[2]


def test_an_older_roster_and_another_of_the_same_serial_are_refused_for_good(path: Path) -> None:
    for _ in range(2):  # the second time around, after a restart
        with closing(opened(path)) as journal:
            journal.accept(7, "aa")
            journal.accept(7, "aa")
            for serial, root in ((6, "aa"), (7, "bb"), (0, "")):
                with pytest.raises(LedgerRefusal, match="roster of serial"):
                    journal.accept(serial, root)
    with closing(opened(path)) as journal:
        journal.accept(8, "bb")
        assert kinds(journal) == ["genesis", "roster", "roster"]


def test_a_ledger_on_disk_is_the_one_in_memory(journal: Journal) -> None:
    reserve(journal, "floats", Charge(GaussianEvent(1000.5, 0.25, 300), "record", summed=True), rounds=3)
    ledger.follow(None, journal.entries())
    assert fold(journal.entries()).runs["floats"].charge.event == GaussianEvent(1000.5, 0.25, 300)
