"""The story: decided by the seed alone, with the chances that it was given."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simulations.faults.rules import Faults
from simulations.faults.story import Fate, Story

SITES = tuple(f"s{number:04d}" for number in range(1000))
FALSE_ALARM = 1e-6
SOME = Faults(seed=3, dropouts=0.05, after_vote=0.03, restarts=0.02, stragglers=0.1, late=0.1)


@given(st.integers(0, 2**53 - 1), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_same_seed_tells_the_same_whatever_is_asked_first(seed: int, lots: object) -> None:
    names, faults = [f"site{number}" for number in range(7)], SOME.model_copy(update={"seed": seed})
    one = Story.about(faults, names, 9)
    lots.shuffle(names)  # type: ignore[attr-defined]
    other = Story.about(faults, names, 9)
    rounds = list(range(1, 10))
    told = {number: one.of(number, names) for number in rounds}
    lots.shuffle(rounds)  # type: ignore[attr-defined]
    for number in rounds:
        assert other.of(number, names[:3]).away == told[number].away & set(names[:3])
        assert {site: other.fate(site, number) for site in names} == {
            site: one.fate(site, number) for site in names
        }
        assert told[number].late == {
            site: one.delay(site, number) for site in names if one.delay(site, number)
        }


def test_another_seed_tells_another_story() -> None:
    one, other = (Story.about(SOME.model_copy(update={"seed": seed}), SITES, 5) for seed in (3, 4))
    assert one.of(1, SITES) != other.of(1, SITES)


def _counts(faults: Faults, rounds: int) -> tuple[Counter[Fate], int]:
    story = Story.about(faults, SITES, rounds)
    fates = Counter(story.fate(site, number) for number in range(1, rounds + 1) for site in SITES)
    return fates, sum(story.delay(site, number) > 0 for number in range(1, rounds + 1) for site in SITES)


def test_fates_have_their_chances_and_the_test_sees_a_tenth_more() -> None:
    faults, rounds = Faults(seed=1, dropouts=0.1, after_vote=0.05, restarts=0.0, stragglers=0.2), 20
    fates, late = _counts(faults, rounds)
    found = {Fate.DROPPED: (fates[Fate.DROPPED], 0.1), Fate.VOTED: (fates[Fate.VOTED], 0.05)}
    for count, chance in (*found.values(), (late, 0.2)):
        assert stats.binomtest(count, 1000 * rounds, chance).pvalue > FALSE_ALARM
        assert stats.binomtest(count, 1000 * rounds, 1.15 * chance).pvalue < 1e-3
    assert fates[Fate.AWAY] == fates[Fate.RESTARTED] == 0


def test_a_restart_keeps_a_site_away_for_so_many_rounds_and_nothing_else_does() -> None:
    faults = Faults(seed=5, restarts=0.1, away_rounds=2)
    story = Story.about(faults, SITES, 12)
    for site in SITES[:200]:
        fates = [story.fate(site, number) for number in range(1, 13)]
        for place, fate in enumerate(fates):
            if fate is Fate.RESTARTED:
                assert fates[place + 1 : place + 3] == [Fate.AWAY] * len(fates[place + 1 : place + 3])
            if fate is Fate.AWAY:
                assert {Fate.RESTARTED, Fate.AWAY} & set(fates[max(0, place - 2) : place])
    assert Counter(story.fate(site, 1) for site in SITES)[Fate.RESTARTED] > 50


def test_whoever_is_late_joins_within_the_rounds_that_are_given_and_stays() -> None:
    story = Story.about(Faults(seed=6, late=0.5, late_rounds=4), SITES, 9)
    joins = [next(number for number in range(1, 10) if story.has_joined(site, number)) for site in SITES]
    assert set(joins) == {1, 2, 3, 4, 5}
    assert stats.binomtest(sum(join > 1 for join in joins), 1000, 0.5).pvalue > FALSE_ALARM
    for site, join in zip(SITES, joins, strict=True):
        assert [story.is_there(site, number) for number in (1, 2, 3, 4, 5, 6)] == [
            number >= join for number in (1, 2, 3, 4, 5, 6)
        ]


@pytest.mark.parametrize("number", [0, 6, 7])
def test_outside_of_its_rounds_nothing_befalls_anybody(number: int) -> None:
    story = Story.about(SOME.model_copy(update={"dropouts": 0.8, "late": 1.0, "late_rounds": 9}), SITES, 5)
    assert {story.fate(site, number) for site in SITES} == {Fate.FINE}
    assert all(story.has_joined(site, 6) for site in SITES)


def test_delays_are_even_up_to_the_longest() -> None:
    story = Story.about(Faults(seed=2, stragglers=1.0, delay_seconds=40), SITES, 3)
    delays = [story.delay(site, number) for number in (1, 2, 3) for site in SITES]
    assert stats.kstest(delays, "uniform", (0, 40)).pvalue > FALSE_ALARM
    assert stats.kstest(delays, "uniform", (0, 44)).pvalue < FALSE_ALARM
