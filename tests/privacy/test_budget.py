"""A budget admits up to its epsilon and not past it, and says by how much."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.accountant import epsilon
from privacy.budget import Budget, admit
from privacy.calibration import noise_multiplier
from privacy.errors import BudgetExceeded, UnsafeParameters
from privacy.events import Event, GaussianEvent, NonPrivateEvent

PLANS = st.lists(st.builds(GaussianEvent, st.floats(2, 50), st.just(1.0), st.integers(1, 50)), max_size=8)


@given(PLANS, st.floats(0.1, 10))
def test_whatever_is_asked_the_admitted_sum_stays_within(plans: list[GaussianEvent], limit: float) -> None:
    spent: list[Event] = []
    for plan in plans:
        try:
            after = admit(spent, plan, Budget(limit, 1e-5))
        except BudgetExceeded:
            assert epsilon([*spent, plan], 1e-5) > limit
        else:
            spent.append(plan)
            assert after == epsilon(spent, 1e-5) <= limit


def test_a_calibrated_plan_fits_the_budget_it_was_calibrated_for_once() -> None:
    plan = GaussianEvent(noise_multiplier(3.0, 1e-5, 1.0, 200), 1.0, 200)
    assert admit([], plan, Budget(3.0, 1e-5)) <= 3.0
    with pytest.raises(
        BudgetExceeded, match=r"budget is epsilon 3 .* 3 is spent, this plan asks for 3, together 4"
    ):
        admit([plan], plan, Budget(3.0, 1e-5))


def test_a_release_without_noise_needs_a_site_without_budget() -> None:
    with pytest.raises(BudgetExceeded):
        admit([], NonPrivateEvent(), Budget(1e9, 1e-5))
    assert admit([], NonPrivateEvent(), Budget(math.inf, 1e-5)) == math.inf
    with pytest.raises(BudgetExceeded):
        admit([NonPrivateEvent()], GaussianEvent(100.0, 1.0, 1), Budget(1e9, 1e-5))


@pytest.mark.parametrize(
    "limits", [(0.0, 1e-5), (-1.0, 1e-5), (math.nan, 1e-5), (-math.inf, 1e-5), (1.0, 0.0), (1.0, 1.0)]
)
def test_a_senseless_budget_is_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(UnsafeParameters):
        Budget(*limits)
