"""Who takes part: the same for everyone, sampled as the plan says, never too few."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from federation.errors import RosterError
from federation.plan.plan import Plan, parse
from federation.round.cohort import noise_levels, sample
from federation.round.messages import Member
from privacy.errors import UnsafeParameters
from tests.plans import TEXT, plan_of

FALSE_ALARM = 1e-6  # of each statistical test below; seeds are fixed, so none ever flickers
ROSTER = tuple(Member(f"site-{number:02d}", 10 + number) for number in range(20))


def make_plan(how: str, seed: int = 7) -> Plan:
    return parse(TEXT.replace('size = "all"', how).replace("seed = 7", f"seed = {seed}"))


HOW = st.sampled_from(['size = "all"', "size = 3", "size = 11", "size = 20", "sample_rate = 1.0"])


@settings(max_examples=60, deadline=None)
@given(how=HOW, seed=st.integers(0, 2**53 - 1), number=st.integers(1, 10**6), order=st.permutations(ROSTER))
def test_every_party_finds_the_same_cohort_in_the_order_of_ids(
    how: str, seed: int, number: int, order: list[Member]
) -> None:
    plan = make_plan(how, seed)
    cohort = sample(plan, order, number)
    assert cohort == sample(Plan.from_canonical(plan.canonical()), ROSTER, number)
    assert list(cohort) == sorted(cohort, key=lambda member: member.site)
    assert set(cohort) <= set(ROSTER)
    size = plan.cohort.size
    assert len(cohort) == (size if isinstance(size, int) else len(ROSTER))


@pytest.mark.parametrize("how", ["size = 5", "sample_rate = 0.5"])
def test_the_cohort_depends_on_seed_and_round(how: str) -> None:
    cohorts = [sample(make_plan(how, seed), ROSTER, number) for seed in (7, 8) for number in (1, 2, 3)]
    assert len(set(cohorts)) > 4


def test_a_sampled_cohort_has_the_plans_rate() -> None:
    """Binomial test over 20,000 decisions, false-alarm rate 1e-6; the control is 10% off."""
    plan = make_plan("sample_rate = 0.6")
    chosen = sum(len(sample(plan, ROSTER, number)) for number in range(1, 1001))
    assert stats.binomtest(chosen, 20_000, 0.6).pvalue > FALSE_ALARM
    assert stats.binomtest(chosen, 20_000, 0.66).pvalue < FALSE_ALARM


def test_a_cohort_of_fixed_size_favors_no_site() -> None:
    """Chi-square over 20 sites and 2,000 cohorts of five, false-alarm rate 1e-6; the control favors one."""
    plan, counts = make_plan("size = 5"), dict.fromkeys(ROSTER, 0)
    for number in range(1, 2001):
        for member in sample(plan, ROSTER, number):
            counts[member] += 1

    def p_value(observed: list[int]) -> float:
        # Counts of draws without replacement: variance n p (1 - p), and together one degree of freedom less.
        excess = sum((count - 500) ** 2 for count in observed) / (2000 * 0.25 * 0.75)
        return float(stats.chi2.sf(excess * 19 / 20, 19))

    assert p_value(list(counts.values())) > FALSE_ALARM
    counts[ROSTER[3]] += 300
    assert p_value(list(counts.values())) < FALSE_ALARM


@pytest.mark.parametrize("how", ['size = "all"', "size = 3", "sample_rate = 1.0"])
def test_a_roster_below_the_minimum_is_refused(how: str) -> None:
    with pytest.raises(RosterError, match=r"2 sites, cohort\.minimum is 3"):
        sample(make_plan(how), ROSTER[:2], 1)
    assert len(sample(make_plan(how), ROSTER[:3], 1)) == 3


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, 10**6))
def test_a_sampled_cohort_below_the_minimum_is_drawn_again_by_every_party_alike(number: int) -> None:
    plan = make_plan("sample_rate = 0.1")  # two out of three draws are too small
    cohort = sample(plan, ROSTER, number)
    assert len(cohort) >= 3
    assert cohort == sample(plan, ROSTER[::-1], number)


def test_a_rate_that_never_reaches_the_minimum_is_refused() -> None:
    with pytest.raises(RosterError, match=r"no cohort of round 1 reaches cohort\.minimum = 3") as error:
        sample(make_plan("sample_rate = 1e-6"), ROSTER, 1)
    assert "sample_rate" in error.value.hint


def test_a_cohort_larger_than_the_roster_is_refused() -> None:
    with pytest.raises(RosterError, match=r"cohort\.size is 11, only 10 sites are here"):
        sample(make_plan("size = 11"), ROSTER[:10], 1)


def test_two_sites_of_one_id_are_refused_even_if_they_differ_in_size() -> None:
    with pytest.raises(RosterError, match="share one id"):
        sample(make_plan('size = "all"'), (*ROSTER, Member("site-03", 99)), 1)


@pytest.mark.parametrize(
    ("cohort", "changes", "levels"),
    [
        (5, {}, (0, 1)),
        (5, {"dropouts": 0}, ()),
        (5, {"secure_aggregation.excess_levels": 0}, ()),
        (3, {"colluders": 0}, ()),  # three sites can lose none
        (100, {"dropouts": 20}, (0, 7, 14, 20)),
        (100, {"dropouts": 20, "secure_aggregation.excess_levels": 1}, (0, 20)),
        (128, {"dropouts": 2}, (0, 1, 2)),
        (1000, {"dropouts": 20}, ()),  # along a ring
        (5, {"noise": "central"}, ()),
        (5, {"noise": "site"}, ()),
    ],
)
def test_the_levels_of_excess_noise_follow_from_the_plan_and_the_size_of_the_cohort(
    cohort: int, changes: dict[str, object], levels: tuple[int, ...]
) -> None:
    assert noise_levels(plan_of({"minimum": 3}, changes), cohort) == levels


def test_levels_that_a_plan_asks_for_along_a_ring_are_refused() -> None:
    plan = plan_of({"minimum": 3, "dropouts": 20, "secure_aggregation.excess_levels": 1})
    assert noise_levels(plan, 128)
    with pytest.raises(UnsafeParameters, match="excess_levels = 1"):
        noise_levels(plan, 1000)
