"""DP-62: Parts of a share of noise: what is left of them is never less than the guarantee counts on."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest

from privacy.errors import UnsafeParameters
from privacy.mechanism import noise
from privacy.mechanism.excess import Levels, levels_between
from privacy.mechanism.noise import MIN_VARIANCE, VARIANCE, Stream, discrete_gaussian, max_draw
from privacy.secagg.parameters import Parameters
from tests.privacy.mechanism.laws import p_value

FALSE_ALARM = 1e-6


def cohorts() -> Iterator[tuple[int, int, int, int]]:
    """Sites, colluders, sites that may be lost, steps: every size, and what a plan may ask of it."""
    for count in range(3, 129):
        names = tuple(f"{slot:03d}" for slot in range(count))
        for colluders in sorted({0, 1, 2, count // 10, count // 3, count - 2} & set(range(count - 1))):
            rules = {"colluders": colluders, "ring_bits": 32, "length": 1}
            wishes = (Parameters(names, dropouts=wish, **rules) for wish in (1, 2, 3, 7, 20, 128))
            for most in sorted({count - parameters.required for parameters in wishes}):
                yield from ((count, colluders, most, steps) for steps in range(4))


def test_at_every_level_of_every_cohort_the_honest_shares_left_are_what_the_guarantee_counts_on() -> None:
    """Whatever the number of lost sites; and at a level's own number not one unit a site more than needed."""
    for count, colluders, most, steps in cohorts():
        levels = Levels(count - colluders, levels_between(most, steps))
        assert sum(levels.parts) == VARIANCE == levels.left[-1]
        assert min(levels.parts) >= MIN_VARIANCE
        needed = VARIANCE * (count - colluders - most)
        for lost in range(most + 1):
            left = (count - colluders - lost) * levels.left[levels.level(lost)]
            assert left >= needed, (count, colluders, most, steps, lost)
            if lost in levels.lost:
                assert left - needed < count - colluders - lost


def test_parts_of_a_wider_noise_are_in_the_same_ratio_and_have_room_for_all_they_can_be() -> None:
    for levels in (Levels(5, (0, 1)), Levels(90, (0, 7, 14, 20)), Levels(3, (1,))):
        assert levels.most() == levels.max_draw
        for width in (2, 8, 256):
            assert levels.most(width) == sum(max_draw(width**2 * part) for part in levels.parts)
            assert (
                width * levels.max_draw - width * len(levels.parts)
                <= levels.most(width)
                <= width * levels.max_draw
            )
            assert max_draw(width**2 * VARIANCE) <= levels.most(width)


def test_rounding_a_level_down_would_leave_too_little() -> None:
    """The failing control of the test above: 7 sites, one colluder, two lost at most."""
    exact = Fraction(VARIANCE * 4, 6)
    assert exact.denominator > 1
    assert 6 * (exact.numerator // exact.denominator) < 4 * VARIANCE <= 6 * Levels(6, (0, 1, 2)).left[0]


def test_levels_ascend_evenly_from_none_lost_to_as_many_as_may_be() -> None:
    for most in range(130):
        for steps in range(4):
            levels = levels_between(most, steps)
            assert levels[-1] == most
            assert len(levels) == 1 + min(most, steps)
            gaps = [high - low for low, high in pairwise(levels)]
            assert not gaps or (levels[0] == 0 and max(gaps) - min(gaps) <= 1)


@pytest.mark.parametrize(
    ("honest", "lost"),
    [(5, ()), (5, (1, 0)), (5, (0, 0, 1)), (5, (-1, 1)), (5, (0, 5)), (0, (0,)), (1 << 14, (0, 1))],
    ids=["none", "falling", "twice", "below zero", "all lost", "nobody", "a tiny part"],
)
def test_levels_under_which_the_noise_would_be_wrong_are_refused(honest: int, lost: tuple[int, ...]) -> None:
    with pytest.raises(UnsafeParameters):
        Levels(honest, lost)


def test_more_lost_than_may_be_is_no_level() -> None:
    for lost in (-1, 3):
        with pytest.raises(UnsafeParameters):
            Levels(6, (0, 2)).level(lost)


@pytest.mark.parametrize("variance", [MIN_VARIANCE - 1, VARIANCE + 1, 0, -VARIANCE])
def test_noise_of_a_variance_for_which_nothing_is_shown_is_refused(variance: int) -> None:
    with pytest.raises(UnsafeParameters):
        discrete_gaussian(Stream(bytes(32)), 3, variance)


@pytest.mark.parametrize("variance", [MIN_VARIANCE, 2_064_126, VARIANCE // 4, 178_956_971])
def test_the_table_of_a_part_is_exact_to_two_to_the_minus_120(variance: int) -> None:
    high, low = noise._cumulative(variance)
    assert len(high) == max_draw(variance)
    with mpmath.workdps(60):
        total = mpmath.sqrt(2 * mpmath.pi * variance)  # by Poisson summation, up to exp(-2 pi^2 variance)
        partial, at = mpmath.mpf(0), 0
        for j in (0, 1, 300, 4000):
            for k in range(at, j + 1):
                partial += (1 if k == 0 else 2) * mpmath.exp(-mpmath.mpf(k * k) / (2 * variance))
            at = j + 1
            entry = (int(high[j]) << 64) + int(low[j])
            assert abs(mpmath.mpf(entry) / 2**128 - partial / total) < mpmath.mpf(2) ** -120
    assert (int(high[-1]) << 64) + int(low[-1]) > 2**128 - 2**8


@pytest.mark.parametrize("variance", [MIN_VARIANCE, VARIANCE // 4, 178_956_971])
def test_draws_have_their_variance_and_shape_and_the_test_sees_two_percent(variance: int) -> None:
    draws = discrete_gaussian(Stream(b"parts" + bytes(27)), 200_000, variance)
    assert int(np.abs(draws).max()) <= max_draw(variance)
    for scale, fits in ((1.0, True), (0.98, False), (1.02, False)):
        assert bool(p_value(draws, scale**2 * variance) > FALSE_ALARM) is fits


@pytest.mark.parametrize(("one", "other"), [(3.0, 5.0), (1.0, 40.0), (0.6, 0.9)])
def test_a_sum_of_unequal_draws_is_a_discrete_gaussian_within_the_factor_that_is_claimed(
    one: float, other: float
) -> None:
    """At variances where the factor can be seen at all; at 2^20 and more it is 1 +- exp(-10^7)."""
    reach, h = 60, one * other / (one + other)
    with mpmath.workdps(60):
        masses = [
            {k: mpmath.exp(-mpmath.mpf(k * k) / (2 * mpmath.mpf(variance))) for k in range(-reach, reach + 1)}
            for variance in (one, other, one + other)
        ]
        first, second, whole = ({k: p / sum(mass.values()) for k, p in mass.items()} for mass in masses)
        ratios = [
            sum(first[j] * second[k - j] for j in range(-reach, reach + 1) if k - j in second) / whole[k]
            for k in range(-12, 13)
        ]
        off, bound = max(abs(ratio - 1) for ratio in ratios), 2.1 * mpmath.exp(-2 * mpmath.pi**2 * h)
        assert off < 3 * bound  # the inner sum, and what it does to the two normalizers
        assert off > bound / 100, "the bound is not empty"
