"""What an error says that a plan would have needed: a number that such a plan does bear, and no other."""

from __future__ import annotations

import re

import pytest

from federation.plan.plan import Plan
from federation.round.cohort import required_survivors
from server.attendance.cure import cure
from tests.worlds import plan_of


def bearing(plan: Plan, sites: int, dropouts: int) -> int:
    asked = plan.secure_aggregation.model_copy(update={"dropouts": dropouts})
    return sites - required_survivors(plan.model_copy(update={"secure_aggregation": asked}), sites)


@pytest.mark.parametrize("sites", [3, 5, 8, 12, 30])
@pytest.mark.parametrize("dropouts", [0, 1, 3])
def test_the_number_that_is_named_bears_what_was_lost_and_there_is_none_where_none_does(
    sites: int, dropouts: int
) -> None:
    plan = plan_of(dropouts=dropouts, colluders=0)
    most = max(bearing(plan, sites, wanted) for wanted in range(sites))
    for lost in range(bearing(plan, sites, dropouts) + 1, sites + 1):
        told = cure(plan, sites, lost)
        assert f"cohort.deadline_seconds (now {plan.cohort.deadline_seconds:g})" in told
        named = re.search(r"secure_aggregation.dropouts (?:to|=) (\d+)", told)
        if named is None:
            assert "under no plan it bears more: have more sites" in told
            assert bearing(plan, sites, dropouts) == most
        else:
            assert bearing(plan, sites, int(named[1])) == int(named[1]) == min(lost, most)


def test_fewer_lost_than_a_plan_bears_were_only_late() -> None:
    assert cure(plan_of(dropouts=2), 8, 1).startswith("raise cohort.deadline_seconds")
