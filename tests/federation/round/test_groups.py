"""Groups of a round: the same for every party, disjoint, large enough by themselves, and what their noise costs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.plan.plan import Plan
from federation.round.cohort import required_survivors
from federation.round.groups import group_sizes, noise_factor, partition, smallest_sum
from federation.round.messages import Member
from federation.round.terms import Terms
from tests.plans import plan_of

NAMES = tuple(f"site-{number:02d}" for number in range(20))


def plan_with(groups: int = 4, combine: str = "median", **changes: object) -> Plan:
    rules = {"secure_aggregation.groups": groups, "server.combine": combine, "cohort.minimum": 20}
    return plan_of(rules, **{"sample_rate": 1.0, **changes})


def terms_of(plan: Plan, sites: int = 20, round_number: int = 1) -> Terms:
    members = tuple(Member(name, 100) for name in NAMES[:sites])
    return Terms(plan, bytes(16), round_number, 1, members, 9)


@given(sites=st.integers(20, 60), groups=st.integers(2, 5), number=st.integers(1, 200))
def test_every_site_is_in_one_group_and_sizes_differ_by_one_at_most(
    sites: int, groups: int, number: int
) -> None:
    names = [f"{slot:03d}" for slot in range(sites)]
    parts = partition(plan_with(groups, "mean"), number, names)
    assert sorted(name for part in parts for name in part) == names
    assert [len(part) for part in parts] == list(group_sizes(sites, groups))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert min(map(len, parts)) == smallest_sum(plan_with(groups, "mean"), sites)
    assert all(list(part) == sorted(part) for part in parts)


def test_groups_follow_from_plan_round_and_cohort_and_from_no_attempt() -> None:
    plan = plan_with()
    first = terms_of(plan)
    assert [one.members for one in first.groups] == [one.members for one in replace(first, attempt=9).groups]
    others = [terms_of(plan, round_number=2), terms_of(plan_with(**{"federation.seed": 8}))]
    for other in others:
        assert [one.members for one in other.groups] != [one.members for one in first.groups]


def test_without_noise_the_groups_of_a_run_never_change() -> None:
    plan = plan_with(noise="none")
    parts = [partition(plan, number, NAMES) for number in (1, 2, 3)]
    assert parts[0] == parts[1] == parts[2]
    private = [partition(plan_with(), number, NAMES) for number in (1, 2)]
    assert private[0] != private[1], "the failing control"


def test_the_terms_of_a_group_are_those_of_a_cohort_of_its_size() -> None:
    """Thresholds, shares of noise and ring: as if nobody else were there, with all colluders and dropouts in it."""
    plan = plan_with()
    whole = terms_of(plan)
    small = plan_of({"secure_aggregation.excess_levels": 0}, sample_rate=1.0)
    for group in whole.groups:
        alone = replace(terms_of(small), members=group.members)
        for name in ("threshold", "quorum", "required", "ring_bits"):
            assert getattr(group.parameters, name) == getattr(alone.parameters, name)
        assert group.mechanism == alone.mechanism
        assert group.mechanism is not None and group.mechanism.shares == 5 - 1 - 1
        assert group.parties == alone.parties
        assert group.invited == whole.members
    assert whole.of("site-07") in whole.groups
    assert Member("site-07", 100) in whole.of("site-07").members


def test_what_a_site_is_asked_and_its_keys_are_bound_to_the_whole_cohort() -> None:
    """With another cohort the groups are others: that is another question, which a charged site refuses."""
    plan = plan_with()
    terms, fewer = terms_of(plan), terms_of(plan_with(**{"cohort.minimum": 16}), 19)
    assert {group.question(b"") for group in terms.groups} == {terms.question(b"")}
    assert terms.question(b"") != fewer.question(b"")
    assert terms.groups[0].session != terms_of(plan, round_number=2).groups[0].session
    sessions = {replace(terms, attempt=attempt).groups[0].session for attempt in (1, 2)}
    assert len(sessions) == 2


def test_an_evaluation_is_one_sum_over_all() -> None:
    plan = plan_with()
    rules = plan.evaluation.model_copy(update={"epsilon": 1.0})
    terms = terms_of(plan.model_copy(update={"evaluation": rules}), round_number=201)
    assert terms.is_evaluation and terms.groups == (terms,)


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (
            "distributed",
            math.sqrt((4 * 5 / 3) / (20 / 19)),
        ),  # shares over those counted, in a group and in all
        ("site", 1.0),
        ("central", 2.0),  # four draws, each on a quarter
    ],
)
def test_the_price_of_groups_in_noise_is_told(noise: str, expected: float) -> None:
    assert noise_factor(plan_with(noise=noise), 20) == pytest.approx(expected, rel=0.02)
    assert noise_factor(plan_of(noise=noise, sample_rate=1.0), 20) == pytest.approx(1.0)


def test_a_group_that_lost_its_dropouts_still_has_the_noise_that_is_counted_on() -> None:
    for sites, groups, colluders, dropouts in ((20, 4, 1, 1), (30, 3, 3, 2), (12, 3, 0, 1), (21, 4, 2, 0)):
        rules = {"colluders": colluders, "dropouts": dropouts, "cohort.minimum": sites}
        plan = plan_with(groups, "median", **rules)
        for size in group_sizes(sites, groups):
            required = required_survivors(plan, size)
            assert required - colluders >= 2
            assert required >= size - dropouts
