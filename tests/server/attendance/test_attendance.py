"""Who is asked to a round: never fewer than the plan's minimum, and never a cohort that could have no sum."""

from __future__ import annotations

import pytest

from federation.plan.plan import Plan
from federation.round.messages import Member
from server.attendance.attendance import Attendance
from tests.worlds import NAMES, plan_of

MEMBERS = tuple(Member(name, 40) for name in NAMES)
ASH, BIRCH, CEDAR, DOGWOOD, ELM = NAMES


def plan(minimum: int = 3, **changes: object) -> Plan:
    return plan_of(noise="distributed", dropouts=1, minimum=minimum, **changes)


def asked(attendance: Attendance, of: Plan, number: int = 1) -> list[str]:
    return [member.site for member in attendance.cohort(of, MEMBERS, number)]


def with_away(*sites: str) -> Attendance:
    found = Attendance()
    for site in sites:
        found.absence.lost(site, 1)
    return found


def test_everybody_is_asked_while_nothing_is_known() -> None:
    assert asked(Attendance(), plan()) == list(NAMES)


def test_who_is_away_is_not_asked() -> None:
    assert asked(with_away(ELM), plan()) == [ASH, BIRCH, CEDAR, DOGWOOD]
    assert asked(with_away(ELM, ASH), plan()) == [BIRCH, CEDAR, DOGWOOD]


def test_below_the_minimum_those_who_are_away_are_asked_as_long_as_the_others_make_a_sum() -> None:
    assert asked(with_away(ELM), plan(minimum=5)) == list(NAMES)
    assert asked(with_away(ELM, ASH), plan(minimum=4)) == [ASH, BIRCH, CEDAR, DOGWOOD], "the first lost first"
    assert asked(with_away(ELM, ASH), plan(minimum=5)) == list(NAMES), "either of them may come back"


def test_a_pair_is_left_out_unless_too_few_were_left() -> None:
    attendance = Attendance()
    attendance.faults.accuse([(ELM, ASH)])
    assert asked(attendance, plan()) == [BIRCH, CEDAR, DOGWOOD]
    assert asked(attendance, plan(minimum=4)) == list(NAMES)
    attendance.absence.lost(BIRCH, 1)
    assert asked(attendance, plan()) == [BIRCH, CEDAR, DOGWOOD], "three are the fewest"


def test_who_is_at_fault_is_left_out_before_who_is_away() -> None:
    attendance = with_away(BIRCH, CEDAR)
    attendance.faults.accuse([(ELM, ASH), (DOGWOOD, ASH)])
    assert asked(attendance, plan(minimum=4)) == [BIRCH, CEDAR, DOGWOOD, ELM]


def test_without_noise_no_more_are_left_out_than_the_sites_accept() -> None:
    """They refuse a cohort that differs from the first one by more than the dropouts."""
    bare = plan_of(noise="none", dropouts=1, minimum=3)
    assert asked(with_away(ELM), bare) == [ASH, BIRCH, CEDAR, DOGWOOD]
    assert asked(with_away(ELM, ASH), bare) == [ASH, BIRCH, CEDAR, DOGWOOD]


def test_a_cohort_of_a_fixed_size_is_filled_up() -> None:
    of = plan(size=4)
    for number in range(1, 6):
        drawn, rest = asked(Attendance(), of, number), asked(with_away(ASH), of, number)
        assert len(rest) == 4
        assert set(drawn) - {ASH} <= set(rest)


@pytest.mark.parametrize("number", range(1, 6))
def test_a_cohort_by_rate_is_what_was_drawn_without_who_is_away(number: int) -> None:
    of = plan(size=None, **{"cohort.sample_rate": 0.9})
    drawn = asked(Attendance(), of, number)
    left = [site for site in drawn if site != ASH]
    if len(left) >= 3:
        assert asked(with_away(ASH), of, number) == left
    else:
        assert ASH not in asked(with_away(ASH), of, number), "it is drawn again"
