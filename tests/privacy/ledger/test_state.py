"""Whatever happens, and in whatever order, charged is never less than begun; other histories are refused."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.events import GaussianEvent, NonPrivateEvent
from privacy.accounting.filters import UNSAMPLED, USUAL, Budget, Filter, Foreseen
from privacy.accounting.units import Charge, Limit, Patient
from privacy.errors import LedgerCorrupt, LedgerRefusal, UnsupportedEvent
from privacy.ledger.approvals import approve
from privacy.ledger.chain import rotation
from privacy.ledger.state import fold, is_even
from tests.privacy.ledger.ledgers import (
    ANNA,
    BERT,
    FILTER,
    KEY,
    LIMIT,
    NEXT,
    PEER,
    PLAN,
    Book,
    budget_body,
    genesis,
    head,
    heads_body,
    reserved,
)

PATIENTS = Limit("patient", Budget(8.0, 1e-5), Patient(2, 3))


def count(book: Book) -> int:
    return sum(event.count for event in book.account.charged("record") if isinstance(event, GaussianEvent))


def test_the_fold_of_a_ledger_is_its_state_however_it_was_read() -> None:
    book = reserved()
    book.add("roster", serial=3, root="aa")
    for number in (1, 2):
        book.begin(number)
        book.release(number)
    book.add("mask", run="run", round=1, attempt=4)
    book.add("reveal", run="run", round=1, survivors="all")
    book.add("witness", **heads_body(head(7)))
    again = fold(book.entries)
    for account in (book.account, again):
        run = account.runs["run"]
        assert (run.plan, run.charge, run.rounds, run.by) == ("plan", PLAN, 100, {"record": "filter"})
        assert (run.begun, run.released) == ({1: "q", 2: "q"}, {1: "ab" * 32, 2: "ab" * 32})
        assert (run.masked, run.revealed, run.closed) == ({1: 4}, {1: "all"}, None)
        assert account.roster == (3, "aa")
        assert account.terms["record"].limit == LIMIT
        assert list(account.witnessed.values()) == [head(7)]
        assert account.tip == book.account.tip


def test_a_reservation_is_charged_in_full_until_its_run_is_closed() -> None:
    book = reserved()
    assert book.account.charged("record") == (PLAN.event,)
    book.begin(1)
    assert book.account.charged("record") == (PLAN.event,)
    book.add("close", run="run", params="p")
    assert book.account.charged("record") == (GaussianEvent(20.0, 1.0, 1),)


def test_a_round_has_as_many_releases_as_the_plan_says() -> None:
    book = Book()
    book.budget()
    steps = Charge(GaussianEvent(20.0, 0.5, 120), "record", summed=False)
    book.reserve(charge=steps.to_json(), rounds=40)
    for number in (1, 5, 40):
        book.begin(number)
    book.add("close", run="run", params="p")
    assert book.account.charged("record") == (GaussianEvent(20.0, 0.5, 9),)


def test_nothing_of_a_plan_that_was_admitted_as_a_whole_is_returned() -> None:
    for begun in (0, 1):
        book = Book()
        book.budget()
        book.budget(PATIENTS)
        book.reserve(by={"record": "filter", "patient": "plan"})
        for number in range(1, begun + 1):
            book.begin(number)
        book.add("close", run="run", params="p")
        assert book.account.charged("record") == (PLAN.event,)


def test_what_had_no_noise_stays_charged_once_begun() -> None:
    book = Book()
    book.budget(Limit("record", Budget(float("inf"), 1e-5)))
    bare = Charge(NonPrivateEvent(), "record", summed=False)
    for run in ("never", "once"):
        book.reserve(run, charge=bare.to_json(), rounds=3)
    book.begin(1, "once")
    for run in ("never", "once"):
        book.add("close", run=run, params="p")
    assert book.account.charged("record") == (NonPrivateEvent(),)


def test_each_unit_is_charged_in_its_own_way() -> None:
    book = Book()
    book.budget()
    book.budget(PATIENTS)
    book.reserve(by={"record": "filter", "patient": "filter"})
    charged = book.account.charged
    assert charged("patient") == (PLAN.to("patient", Patient(2, 3)),)
    assert charged("patient", Patient(4, 5)) == (PLAN.to("patient", Patient(4, 5)),)
    assert charged("record") == (PLAN.event,)
    assert charged("client") == (NonPrivateEvent(),)


# Random histories. The model is a few sets and sums, written down before the fold was.


def test_entries_of_an_earlier_version_are_read_and_told_from_present_ones() -> None:
    """Of a release a bare hash instead of a commitment, and no suite where bytes were masked."""
    book = reserved()
    for number in (1, 2, 3):
        book.begin(number)
    book.add("release", run="run", round=1, payload="cd" * 32)
    book.release(2)
    book.add("release", run="run", round=3, payload="ef" * 32)
    assert book.account.runs["run"].suites == set()
    book.add("mask", run="run", round=1, attempt=1)
    assert book.account.runs["run"].suites == {2}
    book.add("mask", run="run", round=2, attempt=1, suite=3)
    for account in (book.account, fold(book.entries)):
        run = account.runs["run"]
        assert run.released == {1: "cd" * 32, 2: "ab" * 32, 3: "ef" * 32}
        assert (run.unblinded, run.suites, run.masked) == ({1, 3}, {2, 3}, {1: 1, 2: 1})


RUNS, ROUNDS = ("a", "b", "c"), 3
ACTS = st.one_of(
    st.tuples(st.just("reserve"), st.sampled_from(RUNS), st.sampled_from(["filter", "plan"])),
    st.tuples(st.just("begin"), st.sampled_from(RUNS), st.integers(0, ROUNDS + 1)),
    st.tuples(st.just("release"), st.sampled_from(RUNS), st.integers(0, ROUNDS + 1)),
    st.tuples(st.just("reveal"), st.sampled_from(RUNS), st.integers(1, ROUNDS)),
    st.tuples(st.just("close"), st.sampled_from(RUNS), st.just(0)),
)
PER_ROUND = 2
SMALL = Charge(GaussianEvent(20.0, 1.0, PER_ROUND * ROUNDS), "record", summed=False)


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTS, max_size=25))
def test_charged_is_never_less_than_what_was_begun_or_released(acts: list[tuple[str, str, Any]]) -> None:
    """DP-46: no order of entries returns a round that was begun, or any part of it."""
    book = Book()
    book.budget()
    begun, released, charged = set[tuple[str, int]](), set[tuple[str, int]](), dict[str, int]()
    before = 0
    for kind, run, what in acts:
        kept = len(book.entries)
        try:
            _act(book, kind, run, what)
        except LedgerCorrupt:
            book = Book(book.entries[0]) if kept == 1 else _reread(book, kept)
            assert count(book) == before
            continue
        if kind == "begin":
            begun.add((run, what))
        elif kind == "release":
            assert (run, what) in begun
            released.add((run, what))
        elif kind == "reserve":
            charged[run] = PER_ROUND * ROUNDS
        elif kind == "close" and book.account.runs[run].by["record"] == "filter":
            charged[run] = PER_ROUND * sum(name == run for name, _ in begun)
        assert released <= begun
        assert count(book) == sum(charged.values()) >= PER_ROUND * len(begun)
        assert kind == "close" or count(book) >= before
        before = count(book)
    assert count(_reread(book, len(book.entries))) == before


def _act(book: Book, kind: str, run: str, what: Any) -> None:
    if kind == "reserve":
        book.reserve(run, by={"record": what}, charge=SMALL.to_json(), rounds=ROUNDS)
    elif kind == "begin":
        book.begin(what, run)
    elif kind == "release":
        book.release(what, run)
    elif kind == "reveal":
        book.add("reveal", run=run, round=what, survivors="all")
    else:
        book.add("close", run=run, params="p")


def _reread(book: Book, length: int) -> Book:
    again = Book(book.entries[0])
    again.account, again.entries = fold(book.entries[:length]), book.entries[:length]
    return again


# Histories that no honest site writes.


def begun() -> Book:
    book = reserved()
    book.begin(1)
    return book


def released() -> Book:
    book = begun()
    book.release(1)
    return book


def closed() -> Book:
    book = released()
    book.add("close", run="run", params="p")
    return book


def masked() -> Book:
    book = released()
    book.add("mask", run="run", round=1, attempt=2)
    book.add("reveal", run="run", round=1, survivors="all")
    book.add("roster", serial=2, root="aa")
    book.add("witness", **heads_body(head(4)))
    return book


ROUND = {"run": "run", "round": 1}
RESERVE = {"run": "new", "plan": "p", "charge": PLAN.to_json(), "rounds": 100, "by": {"record": "filter"}}
REFUSE = {"run": "new", "plan": "p", "charge": PLAN.to_json(), "unit": "record"}
NEGATIVE = {**PLAN.to_json(), "event": {**PLAN.event.to_json(), "count": -100}}
IMPOSSIBLE: list[tuple[Any, str, dict[str, Any]]] = [
    (Book, "begin", {**ROUND, "question": "q"}),
    (Book, "reserve", RESERVE),
    (Book, "close", {"run": "run", "params": "p"}),
    (reserved, "begin", {**ROUND, "round": 0, "question": "q"}),
    (reserved, "begin", {**ROUND, "round": -1, "question": "q"}),
    (reserved, "begin", {**ROUND, "round": 101, "question": "q"}),
    (reserved, "begin", {**ROUND, "round": True, "question": "q"}),
    (reserved, "begin", {**ROUND, "round": 1.5, "question": "q"}),
    (reserved, "begin", {**ROUND, "question": 7}),
    (reserved, "begin", {**ROUND, "question": "q", "refund": 1}),
    (reserved, "begin", {**ROUND, "run": "other", "question": "q"}),
    (reserved, "release", {**ROUND, "commitment": "ab" * 32}),
    (reserved, "reserve", {**RESERVE, "run": "run"}),
    (reserved, "reserve", {**RESERVE, "rounds": 0}),
    (reserved, "reserve", {**RESERVE, "rounds": -100}),
    (reserved, "reserve", {**RESERVE, "rounds": 7}),
    (reserved, "reserve", {**RESERVE, "rounds": 200}),
    (reserved, "reserve", {**RESERVE, "charge": NEGATIVE}),
    (reserved, "reserve", {**RESERVE, "charge": None}),
    (reserved, "reserve", {**RESERVE, "by": {}}),
    (reserved, "reserve", {**RESERVE, "by": {"patient": "filter"}}),
    (reserved, "reserve", {**RESERVE, "by": {"record": "filter", "patient": "filter"}}),
    (reserved, "reserve", {**RESERVE, "by": {"record": "trust"}}),
    (reserved, "reserve", {**RESERVE, "by": {"record": ["filter"]}}),
    (reserved, "reserve", {**RESERVE, "by": {"record": "plan"}}),  # something was charged before
    (reserved, "refuse", {**REFUSE, "unit": "hospital"}),
    (reserved, "refuse", {**REFUSE, "charge": NEGATIVE}),
    (reserved, "refuse", {**REFUSE, "plan": None}),
    (reserved, "budget", budget_body(dataclasses.replace(LIMIT, budget=Budget(4.0, 1e-5)))),
    (reserved, "budget", budget_body(LIMIT)),
    (begun, "begin", {**ROUND, "question": "q"}),
    (begun, "release", {**ROUND, "commitment": "short"}),
    (begun, "release", ROUND),
    (begun, "release", {**ROUND, "payload": "short"}),
    (begun, "release", {**ROUND, "payload": "ab" * 32, "commitment": "ab" * 32}),
    (begun, "mask", {**ROUND, "attempt": 1}),
    (begun, "reveal", {**ROUND, "survivors": "all"}),
    (released, "release", {**ROUND, "commitment": "ab" * 32}),
    (released, "release", {**ROUND, "commitment": "cd" * 32}),
    (released, "mask", {**ROUND, "attempt": 0}),
    (released, "mask", {**ROUND, "attempt": 1, "suite": 0}),
    (released, "mask", {**ROUND, "attempt": 1, "suite": "2"}),
    (released, "mask", {**ROUND, "attempt": 1, "suite": None}),
    (masked, "mask", {**ROUND, "attempt": 2}),
    (masked, "mask", {**ROUND, "attempt": 1}),
    (masked, "reveal", {**ROUND, "survivors": "all but one"}),
    (masked, "roster", {"serial": 2, "root": "aa"}),
    (masked, "roster", {"serial": 1, "root": "aa"}),
    (masked, "roster", {"serial": -1, "root": "aa"}),
    (masked, "witness", {"heads": {}}),
    (masked, "witness", {"heads": []}),
    (masked, "witness", {"heads": {"south": {}}}),
    (masked, "witness", heads_body(head(4))),
    (masked, "witness", heads_body(head(3))),
    (masked, "witness", heads_body(head(9, "north"))),
    (closed, "begin", {**ROUND, "round": 2, "question": "q"}),
    (closed, "mask", {**ROUND, "attempt": 1}),
    (closed, "reveal", {**ROUND, "survivors": "all"}),
    (closed, "close", {"run": "run", "params": "p"}),
    (closed, "reserve", {**RESERVE, "run": "run"}),
]


@pytest.mark.parametrize(
    ("before", "kind", "body"),
    IMPOSSIBLE,
    ids=[f"{b.__name__}-{k}-{i}" for i, (b, k, _) in enumerate(IMPOSSIBLE)],
)
def test_an_impossible_history_is_corrupt(before: Any, kind: str, body: dict[str, Any]) -> None:
    """DP-46: negative charges, a second charge returned, begun rounds closed away: none of it is a history."""
    book = before()
    with pytest.raises(
        LedgerCorrupt, match=rf"entry {len(book.entries)} of the ledger \({kind}\) .*release nothing"
    ):
        book.add(kind, **body)


def test_the_bodies_that_are_refused_above_are_fine_in_their_place() -> None:
    # The control: it is the place or the one changed field that is refused, not the rest.
    book = masked()
    book.add("reserve", **RESERVE)
    book.add("refuse", **REFUSE)
    book.add("mask", **ROUND, attempt=3)
    book.add("roster", serial=3, root="aa")
    book.add("witness", **heads_body(head(5)))
    book.begin(2)
    book.begin(100)
    book.add("close", run="run", params="p")


def test_what_this_version_cannot_account_for_is_refused_as_that() -> None:
    with pytest.raises(UnsupportedEvent):
        reserved().add("reserve", **{**RESERVE, "charge": {**PLAN.to_json(), "event": {"type": "laplace"}}})


def test_a_filter_of_a_kind_that_this_version_does_not_know_is_refused_as_that() -> None:
    for unknown in ({}, {"type": "zcdp"}, {"type": "rdp", "order": "2"}, {"type": "gdp", "order": 2}):
        with pytest.raises(UnsupportedEvent):
            Book().budget(filter=unknown)


def test_a_plan_may_be_admitted_by_itself_where_nothing_is_charged() -> None:
    book = Book()
    book.budget()
    book.reserve("first")
    book.add("close", run="first", params="p")  # not one round was begun
    book.reserve("second", by={"record": "plan"})
    with pytest.raises(LedgerCorrupt, match="admits a plan by itself"):
        book.reserve("third", by={"record": "plan"})


def test_a_ledger_of_nothing_is_corrupt() -> None:
    with pytest.raises(LedgerCorrupt):
        fold([])


# Budgets.

MORE = dataclasses.replace(LIMIT, budget=Budget(5.0, 1e-5))


def raised(book: Book, *keys: Any, limit: Limit = MORE, **changes: Any) -> dict[str, Any]:
    proposal = book.account.proposal(limit, "why")
    approvals = [approve(proposal, key).to_json() for key in keys]
    return {**budget_body(limit), "reason": "why", "approvals": approvals, **changes}


def test_a_budget_is_raised_by_two_approvers() -> None:
    book = reserved()
    book.add("budget", **raised(book, ANNA, BERT))
    assert book.account.terms["record"].limit == MORE
    assert fold(book.entries).terms == book.account.terms


@pytest.mark.parametrize("keys", [(), (ANNA,), (ANNA, ANNA), (ANNA, PEER), (ANNA, KEY), (ANNA, BERT, PEER)])
def test_with_fewer_or_others_it_is_not(keys: tuple[Any, ...]) -> None:
    book = reserved()
    with pytest.raises(LedgerCorrupt, match="without two approvals"):
        book.add("budget", **raised(book, *keys))


@pytest.mark.parametrize(
    "changes",
    [{"epsilon": 6}, {"epsilon": None}, {"delta": 1e-4}, {"records": 3}, {"sites": 3}, {"reason": "because"}],
)
def test_nothing_but_what_was_approved_is_put_in_force(changes: dict[str, Any]) -> None:
    book = reserved()
    with pytest.raises(LedgerCorrupt, match="without two approvals"):
        book.add("budget", **raised(book, ANNA, BERT, **changes))


def test_the_filter_of_a_budget_is_frozen_for_good() -> None:
    book = reserved()
    with pytest.raises(LedgerCorrupt, match="frozen"):
        book.add("budget", **raised(book, ANNA, BERT, filter=Filter(4).to_json()))


def test_an_approval_is_used_up_by_its_use() -> None:
    book = reserved()
    body = raised(book, ANNA, BERT)
    book.add("budget", **body)
    book.add("budget", **raised(book, ANNA, BERT, limit=LIMIT))
    with pytest.raises(LedgerCorrupt, match="without two approvals"):
        book.add("budget", **body)


def test_an_approval_for_one_ledger_raises_no_other() -> None:
    one, other = reserved(), Book(genesis(pool="oncology"))
    other.budget()
    with pytest.raises(LedgerCorrupt, match="without two approvals"):
        other.add("budget", **raised(one, ANNA, BERT))


def test_a_first_limit_carries_no_approvals_and_only_a_limit_in_force_is_raised() -> None:
    book = reserved()
    with pytest.raises(LedgerRefusal, match="no limit per patient"):
        book.account.proposal(PATIENTS, "why")
    with pytest.raises(LedgerCorrupt, match="not there"):
        book.add("budget", **{**budget_body(PATIENTS), "approvals": raised(book, ANNA, BERT)["approvals"]})


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0},
        {"epsilon": -1},
        {"epsilon": True},
        {"epsilon": "3"},
        {"delta": 0},
        {"delta": 1},
        {"records": 0},
        {"sites": -1},
        {"unit": "hospital"},
        {"filter": None},
        {"filter": {"type": "rdp", "order": 1}},
        {"reason": 3},
        {"approvals": {}},
        {"more": 1},
    ],
)
def test_a_malformed_budget_is_corrupt(changes: dict[str, Any]) -> None:
    with pytest.raises(LedgerCorrupt, match=r"entry 1 of the ledger \(budget\)"):
        Book().budget(**changes)


# Peers, and keys.


def test_a_peers_head_is_news_if_it_is_newer_or_contradicts_the_one_known() -> None:
    book = reserved()
    book.add("witness", **heads_body(head(4)))
    news = book.account.is_news
    assert news(head(5))
    assert news(head(4, hash_=b"x" * 32))  # two ledgers of one site, both signed: for the auditor
    assert news(head(0, "east"))
    assert news(dataclasses.replace(head(0), ledger=b"y" * 32))
    assert not news(head(4))
    assert not news(head(3, hash_=b"x" * 32))


def test_a_history_goes_on_under_a_new_key() -> None:
    book = begun()
    book.add("rotate", **rotation(book.account.tip, NEXT))
    with pytest.raises(LedgerCorrupt, match="not signed"):
        _reread(book, len(book.entries)).release(1)
    book.add("release", NEXT, run="run", round=1, commitment="ab" * 32)
    assert fold(book.entries).runs["run"].released == {1: "ab" * 32}


@given(st.integers(0, 50), st.integers(-2, 50))
def test_rounds_are_even_if_and_only_if_they_divide_what_is_charged(releases: int, rounds: int) -> None:
    expected = rounds >= 1 and releases >= 1 and releases / rounds in range(1, 51)
    assert is_even(Charge(GaussianEvent(1.0, 1.0, releases), "record", summed=False), rounds) == expected
    assert is_even(Charge(NonPrivateEvent(), "record", summed=False), rounds) == (rounds >= 1)


STATISTICS = Charge(GaussianEvent(20.0, 1.0, 1), "record", summed=False)
SAMPLED = Foreseen(0.02, 500)


def patient_limit(foreseen: Foreseen | None) -> Limit:
    return Limit("patient", Budget(3.0, 1e-5), Patient(2, 1), foreseen)


def test_a_training_that_is_foreseen_after_a_charge_chooses_no_filter() -> None:
    """Else a site, or whoever advises it, would choose the order that suits what was released already."""
    book = Book()
    for foreseen in (UNSAMPLED, SAMPLED, USUAL):
        term = book.account.in_force([patient_limit(foreseen)], STATISTICS)["patient"]
        assert term.filter == Filter.frozen(term.limit.budget, STATISTICS.event, foreseen)
    book.budget()
    book.reserve()
    for closed in (False, True):
        if closed:
            book.add("close", run="run", params="00" * 32)
            assert book.account.charged("record") == ()
        for later in (UNSAMPLED, SAMPLED, USUAL, None):
            term = book.account.in_force([patient_limit(later)], STATISTICS)["patient"]
            assert term.filter == Filter.frozen(term.limit.budget, PLAN.event, None), (closed, later)


@pytest.mark.parametrize("foreseen", [None, UNSAMPLED, USUAL, SAMPLED])
def test_a_filter_in_the_ledger_stays_whatever_is_foreseen_later(foreseen: Foreseen | None) -> None:
    book = Book()
    book.budget()
    again = replace(LIMIT, foreseen=foreseen)
    assert book.account.in_force([again], STATISTICS)["record"].filter == FILTER
    tighter = replace(again, budget=Budget(2.0, 1e-5))
    assert book.account.in_force([tighter], STATISTICS)["record"].filter == FILTER
    for order in (None, 5):
        with pytest.raises(LedgerCorrupt):
            copied = Book()
            copied.budget(filter_=Filter(7))
            copied.budget(filter_=Filter(order))
