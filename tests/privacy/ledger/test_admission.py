"""Of two limits both hold; what loosens any part of a limit is looser."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accounting.events import GaussianEvent
from privacy.accounting.filters import Budget
from privacy.accounting.units import Charge, Limit, Patient
from privacy.errors import PolicyViolation
from privacy.ledger.state import LimitExceeded
from tests.privacy.ledger.ledgers import FILTER, LIMIT, PLAN, Book, reserved

LIMITS = st.builds(
    Limit,
    unit=st.just("patient"),
    budget=st.builds(
        Budget, epsilon=st.sampled_from([0.5, 1.0, 3.0, math.inf]), delta=st.sampled_from([1e-7, 1e-6, 1e-5])
    ),
    patient=st.builds(Patient, records=st.integers(1, 4), sites=st.integers(1, 4)),
)


def allows(limit: Limit) -> tuple[float, float, float, float]:
    return limit.budget.epsilon, limit.budget.delta, 1 / limit.patient.records, 1 / limit.patient.sites


@given(LIMITS, LIMITS)
def test_the_stricter_of_two_allows_nothing_that_either_forbids(one: Limit, other: Limit) -> None:
    both = one.stricter(other)
    assert allows(both) == tuple(map(min, allows(one), allows(other)))
    assert both == other.stricter(one) == both.stricter(one)
    assert not both.is_looser(one)
    assert not both.is_looser(other)


@given(LIMITS, LIMITS)
def test_looser_is_what_allows_more_in_any_respect(one: Limit, other: Limit) -> None:
    assert one.is_looser(other) == any(a > b for a, b in zip(allows(one), allows(other), strict=True))


def test_limits_of_different_units_do_not_compare() -> None:
    with pytest.raises(ValueError):
        LIMIT.stricter(dataclasses.replace(LIMIT, unit="client"))


def test_without_a_ledgers_limit_the_policys_is_in_force_and_new() -> None:
    terms = Book().account.in_force([LIMIT], PLAN)
    assert {unit: (term.limit, term.filter, term.entry) for unit, term in terms.items()} == {
        "record": (LIMIT, FILTER, b"")
    }
    assert Book().account.in_force([], PLAN) == {}


def test_a_ledgers_limit_is_in_force_whatever_the_policy_leaves_out() -> None:
    book = reserved()
    assert book.account.in_force([], PLAN) == book.account.terms
    tight = dataclasses.replace(LIMIT, budget=Budget(1.0, 1e-6))
    term = book.account.in_force([tight], PLAN)["record"]
    assert (term.limit, term.filter, term.entry) == (tight, FILTER, book.entries[1].hash)


def test_a_refusal_says_which_unit_refuses() -> None:
    account, small = reserved().account, Charge(GaussianEvent(500.0, 1.0, 1), "record", summed=False)
    large = Charge(GaussianEvent(10.0, 1.0, 100), "record", summed=False)
    tight = Limit("patient", Budget(0.1, 1e-5))
    assert account.admission(small, account.in_force([LIMIT], small)) == {"record": "filter"}
    for asked, policy, unit in (
        (large, [LIMIT], "record"),
        (small, [LIMIT, tight], "patient"),
        (small, [tight], "patient"),
    ):
        with pytest.raises(LimitExceeded, match=f"per {unit}: the budget is epsilon ") as caught:
            account.admission(asked, account.in_force(policy, asked))
        assert caught.value.unit == unit


def test_what_is_charged_is_checked_against_the_policy_of_today() -> None:
    book = reserved()
    for fits in ([], [LIMIT], [dataclasses.replace(LIMIT, budget=Budget(2.5, 1e-5))]):
        book.account.recheck(fits, PLAN)
    with pytest.raises(PolicyViolation, match="now allows per record"):
        book.account.recheck([dataclasses.replace(LIMIT, budget=Budget(1.0, 1e-5))], PLAN)


def test_what_was_returned_is_no_longer_checked() -> None:
    book = reserved()
    book.begin(1)
    book.add("close", run="run", params="p")
    book.account.recheck([dataclasses.replace(LIMIT, budget=Budget(0.5, 1e-5))], PLAN)
