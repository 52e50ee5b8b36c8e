"""A restored ledger: whatever its lost end charged, nothing is spent twice; one end never passes for the other."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.events import GaussianEvent
from privacy.accounting.filters import Budget
from privacy.accounting.units import Charge, Limit, Patient
from privacy.errors import FaultyServer, LedgerCorrupt, PolicyViolation
from privacy.ledger.approvals import Restoration, approve, from_text, to_text
from privacy.ledger.chain import LEAP, append, follow
from privacy.ledger.heads import Head
from privacy.ledger.limits import LimitExceeded
from privacy.ledger.state import Account, fold
from tests.privacy.ledger.ledgers import (
    ANNA,
    BERT,
    CARL,
    FILTER,
    GENESIS,
    KEY,
    LIMIT,
    PLAN,
    Book,
    budget_body,
)

SALT = "00" * 32
LARGER = Limit("record", Budget(6.0, 1e-5))


def copy_of(book: Book) -> Book:
    """The same ledger, to go on in another way."""
    other = Book(book.entries[0])
    other.account.extend(book.entries[1:])
    other.entries += book.entries[1:]
    return other


def restored(book: Book, beyond: int = 0, **body: Any) -> Book:
    """The ledger after a restore, by default without anybody's word."""
    other = copy_of(book)
    content = {"salt": SALT, "made": "", "approvals": [], **body}
    entry = append(other.entries[-1], "restore", content, KEY, beyond=beyond)
    other.account.extend((entry,))
    other.entries.append(entry)
    return other


def vouched(book: Book, *people: Any) -> Book:
    """The same with two approvers' word that nothing is missing."""
    word = book.account.restoration("2026-03-01")
    approvals = [approve(word, person).to_json() for person in people or (ANNA, BERT)]
    return restored(book, made="2026-03-01", approvals=approvals)


def raised(book: Book, limit: Limit) -> None:
    """A larger limit, by two approvers."""
    proposal = book.account.proposal(limit, "agreed")
    approvals = [approve(proposal, person).to_json() for person in (ANNA, BERT)]
    body = book.account.terms["record"].replaced_by(limit, "agreed", ())
    book.add("budget", **{**body, "approvals": approvals})


def running() -> Book:
    """A run with one round done, and one begun."""
    book = Book()
    book.budget()
    book.reserve()
    book.begin(1)
    book.add("release", run="run", round=1, commitment="11" * 32)
    book.begin(2)
    return book


def head(book: Book, at: int = -1) -> Head:
    return Head.signed("north", GENESIS.ledger, book.entries[at], KEY)


def test_a_restore_leaps_past_every_number_of_the_lost_end_and_the_chain_goes_on() -> None:
    book = restored(running())
    assert book.entries[-1].seq == LEAP
    book.add("roster", serial=1, root="r")
    assert book.entries[-1].seq == LEAP + 1
    assert fold(book.entries).tip.last == book.entries[-1]
    assert restored(book).entries[-1].seq == 2 * LEAP
    assert restored(running(), beyond=5 * LEAP + 7).entries[-1].seq == 6 * LEAP


@pytest.mark.parametrize("seq", [6, 7, LEAP + 1, LEAP - 1, 0])
def test_a_restore_of_another_number_does_not_verify(seq: int) -> None:
    book = running()
    entry = append(book.entries[-1], "restore", {"salt": SALT, "made": "", "approvals": []}, KEY)
    with pytest.raises(LedgerCorrupt, match="does not verify"):
        follow(book.account.tip, (replace(entry, seq=seq),))


def test_no_other_entry_leaps() -> None:
    book = running()
    entry = append(book.entries[-1], "roster", {"serial": 1, "root": "r"}, KEY)
    with pytest.raises(LedgerCorrupt, match="does not verify"):
        follow(book.account.tip, (replace(entry, seq=LEAP),))


def test_without_a_word_every_open_run_is_over_and_stays_charged_as_a_whole() -> None:
    book = restored(running())
    run = book.account.runs["run"]
    assert run.closed is not None
    assert run.charged == PLAN, "its 98 rounds that were never begun, as far as is known, too"
    for kind, body in [
        ("begin", {"round": 3, "question": "q"}),
        ("reveal", {"round": 1, "survivors": "s"}),
        ("mask", {"round": 1, "attempt": 2}),
        ("close", {"params": "p"}),
    ]:
        with pytest.raises(LedgerCorrupt, match="closed"):
            copy_of(book).add(kind, run="run", **body)


def test_with_a_word_the_run_goes_on_but_for_the_rounds_that_were_begun() -> None:
    book = vouched(running())
    assert book.account.runs["run"].closed is None
    for kind, body in [
        ("release", {"round": 2, "commitment": "22" * 32}),
        ("mask", {"round": 1, "attempt": 1}),
        ("reveal", {"round": 1, "survivors": "s"}),
    ]:
        with pytest.raises(LedgerCorrupt, match="a restore ended"):
            copy_of(book).add(kind, run="run", **body)
    book.begin(3)
    book.add("release", run="run", round=3, commitment="33" * 32)
    book.add("close", run="run", params="p")
    assert book.account.runs["run"].charged == PLAN.with_count(3)
    assert book.account.terms["record"].lost is None


@pytest.mark.parametrize("people", [(ANNA,), (ANNA, ANNA), (ANNA, KEY)])
def test_a_word_takes_two_approvers(people: tuple[Any, ...]) -> None:
    with pytest.raises(LedgerCorrupt, match="without two approvals"):
        vouched(running(), *people)


def test_a_word_is_about_one_end_of_one_ledger() -> None:
    book = running()
    word = book.account.restoration("2026-03-01")
    approvals = [approve(word, person).to_json() for person in (BERT, CARL)]
    book.begin(3)
    with pytest.raises(LedgerCorrupt, match="without two approvals"):
        restored(book, made="2026-03-01", approvals=approvals)
    with pytest.raises(LedgerCorrupt, match="without two approvals"):
        restored(running(), made="2026-03-02", approvals=approvals)


def test_a_proposal_reads_as_it_was_written() -> None:
    word = running().account.restoration("2026-03-01")
    assert isinstance(word, Restoration)
    assert from_text(to_text(word, [approve(word, ANNA)])) == (word, (approve(word, ANNA),))


def test_nothing_more_is_admitted_and_the_whole_budget_counts_as_spent() -> None:
    account = restored(running()).account
    tiny = Charge(GaussianEvent(2000.0, 1.0, 1), "record", summed=False)
    with pytest.raises(LimitExceeded, match="the end of this ledger was lost"):
        account.require_room([LIMIT], [tiny])
    assert account.epsilon("record") == LIMIT.budget.epsilon
    assert account.terms["record"].load(account.charged("record")) == pytest.approx(1)


def test_a_raise_by_two_approvers_admits_the_difference_and_no_more() -> None:
    book = restored(running())
    raised(book, LARGER)
    small = Charge(GaussianEvent(20.0, 1.0, 50), "record", summed=False)
    assert try_reserve(book, "small", small, LARGER)
    large = PLAN.with_count(500)
    alone = restored(running())
    raised(alone, LARGER)
    assert FILTER.load([PLAN.event, large.event], LARGER.budget) < 1, "but for what was lost it would fit"
    assert not try_reserve(alone, "large", large, LARGER)


def test_no_new_unit_gets_a_limit_since_what_was_lost_is_unbounded_in_it() -> None:
    account = restored(running()).account
    patients = Limit("patient", Budget(50.0, 1e-5), Patient(2, 2))
    with pytest.raises(LimitExceeded, match="no limit then"):
        account.in_force([LIMIT, patients], PLAN)
    vouched(running()).account.in_force([LIMIT, patients], PLAN)


def test_a_person_who_counts_for_more_later_is_not_admitted_on_what_was_lost() -> None:
    patients = Limit("patient", Budget(50.0, 1e-5), Patient(1, 1))
    book = Book()
    book.budget()
    book.add("budget", **budget_body(patients, FILTER))
    book.reserve(by={"record": "filter", "patient": "filter"})
    book.begin(1)
    account = restored(book).account
    (term,) = (term for unit, term in account.in_force([patients], PLAN).items() if unit == "patient")
    assert term.load(account.charged("patient", term.limit.patient)) <= 1 + 1e-12
    heavier = replace(patients, patient=Patient(2, 1))
    term = account.in_force([heavier], PLAN)["patient"]
    assert math.isinf(term.load(account.charged("patient", heavier.patient)))


@pytest.mark.parametrize("is_empty", [True, False])
def test_where_the_lost_plan_may_have_been_admitted_by_itself_nothing_ever_is_again(is_empty: bool) -> None:
    book = Book()
    book.budget()
    if is_empty:  # all that is known was returned, or may have been
        book.reserve()
    else:
        book.reserve(by={"record": "plan"})
        book.begin(1)
    book = restored(book)
    raised(book, Limit("record", Budget(1e5, 1e-5)))
    if is_empty:
        with pytest.raises(LimitExceeded):
            book.account.require_room([LIMIT], [PLAN])
        assert book.account.terms["record"].lost is not None
        assert math.isinf(book.account.terms["record"].lost.weight)


def test_a_plan_is_not_admitted_by_itself_after_a_loss() -> None:
    book = Book()
    book.budget()
    book = restored(book)
    with pytest.raises(LedgerCorrupt, match="by itself"):
        book.reserve(by={"record": "plan"})


PLANS = st.builds(
    Charge,
    event=st.builds(
        GaussianEvent,
        noise_multiplier=st.floats(5, 80),
        sample_rate=st.just(1.0),
        count=st.sampled_from([10, 50, 100]),
    ),
    protects=st.just("record"),
    summed=st.booleans(),
)


def try_reserve(book: Book, name: str, charge: Charge, limit: Limit) -> bool:
    """Reserve a plan as a journal does; whether it was admitted."""
    try:
        terms = book.account.in_force([limit], charge)
        by = book.account.admission(charge, terms)
    except (LimitExceeded, PolicyViolation):
        return False
    for term in terms.values():
        if not term.entry:
            book.add("budget", **term.to_json())
    book.add("reserve", run=name, plan="plan", charge=charge.to_json(), rounds=10, by=by)
    return True


@settings(max_examples=60, deadline=None)
@given(known=st.lists(PLANS, max_size=3), lost=st.lists(PLANS, max_size=4), later=st.lists(PLANS, max_size=4),
       begun=st.integers(0, 3), larger=st.sampled_from([None, 4.0, 6.0]), returns=st.booleans())  # fmt: skip
def test_whatever_was_lost_everything_together_keeps_the_limit(
    known: list[Charge],
    lost: list[Charge],
    later: list[Charge],
    begun: int,
    larger: float | None,
    returns: bool,
) -> None:
    """Two ends of one ledger: what both have charged, together, fits the limit in force at the end."""
    book = Book()
    names = [name for name, charge in enumerate(known) if try_reserve(book, f"known{name}", charge, LIMIT)]
    for name in names[:begun]:
        book.begin(1, f"known{name}")
    end = copy_of(book)
    if returns:
        for name in names:
            end.add("close", run=f"known{name}", params="p")
    for name, charge in enumerate(lost):
        try_reserve(end, f"lost{name}", charge, LIMIT)
    back = restored(book)
    if larger is not None and "record" in back.account.terms:
        raised(back, Limit("record", Budget(larger, 1e-5)))
    limit = back.account.terms["record"].limit if "record" in back.account.terms else LIMIT
    for name, charge in enumerate(later):
        try_reserve(back, f"later{name}", charge, limit)
    news = [run.charge.to("record") for name, run in back.account.runs.items() if name.startswith("later")]
    if not news:
        return  # the lost end alone kept its own limit
    assert larger is not None, "without a raise nothing is admitted"
    events = [*end.account.charged("record"), *news]
    rule = back.account.terms["record"].filter
    assert rule.load(events, limit.budget) <= 1 + 1e-9


def test_a_head_of_the_lost_end_is_charged_for_and_one_of_another_restore_is_a_fork() -> None:
    book, end = running(), running()
    end.add("roster", serial=1, root="r")
    back = restored(book).account
    back.check_own(head(end))
    back.check_own(head(book))
    other = restored(running(), salt="11" * 32)
    other.add("roster", serial=1, root="r")
    for at in (-1, -2):
        with pytest.raises(LedgerCorrupt, match="no longer has") as caught:
            back.check_own(head(other, at))
        assert caught.value.kind == "cut"


def test_a_head_that_contradicts_what_the_backup_holds_is_no_loss() -> None:
    other = Book()
    other.add("roster", serial=9, root="other")
    with pytest.raises(LedgerCorrupt):
        restored(running()).account.check_own(head(other))


def test_a_head_of_the_lost_end_proves_two_approvers_wrong() -> None:
    end = running()
    end.add("roster", serial=1, root="r")
    with pytest.raises(LedgerCorrupt, match="no longer has"):
        vouched(running()).account.check_own(head(end))


def test_a_head_that_the_site_never_signed_is_the_server_s_fault() -> None:
    forged = replace(head(running()), signature=bytes(64))
    with pytest.raises(FaultyServer):
        restored(running()).account.check_own(forged)


@pytest.mark.parametrize("missing", ["salt", "made", "approvals"])
def test_a_restore_lacks_nothing(missing: str) -> None:
    body = {"salt": SALT, "made": "", "approvals": []}
    del body[missing]
    account = running()
    entry = append(account.entries[-1], "restore", body, KEY)
    with pytest.raises(LedgerCorrupt, match="lacks"):
        Account.extend(account.account, (entry,))
