"""DP-64: The noise of a sum, drawn once: against the sum of the shares, exactly and as drawn."""

from __future__ import annotations

from typing import Any, cast

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privacy.errors import UnsafeParameters
from privacy.mechanism.excess import Levels, levels_between
from privacy.mechanism.noise import MIN_VARIANCE, VARIANCE, Stream, discrete_gaussian, max_draw
from privacy.mechanism.summed import MAX_SHARES, _composed, parts_of, summed_gaussian
from tests.privacy.mechanism.laws import Largest, p_value

FALSE_ALARM = 1e-6  # of each statistical test below; keys are fixed, so none ever flickers
SHARES = st.integers(1, 2**20) | st.sampled_from([1, 2, 3, MAX_SHARES])
VARIANCES = st.integers(MIN_VARIANCE, VARIANCE) | st.sampled_from([MIN_VARIANCE, VARIANCE])
SUMS = [
    (1, VARIANCE),
    (3, MIN_VARIANCE),
    (100, 178_956_971),
    (1000, VARIANCE),
    (10**6, VARIANCE),
    (2**30, VARIANCE),
]
Array = np.ndarray[Any, np.dtype[Any]]


@given(SHARES, VARIANCES)
@settings(max_examples=300, deadline=None)
def test_a_variance_is_composed_exactly_of_parts_as_large_as_the_proof_needs(
    shares: int, variance: int
) -> None:
    total, scale, left, draws = 0, 1, shares * variance, 1
    while left > 2**17:
        coarse, fine = parts_of(left)
        assert 64**2 * coarse + fine == left
        assert coarse >= 24 and 8 * 64**2 <= fine < 9 * 64**2
        assert coarse * (fine / 64**2) / (coarse + fine / 64**2) >= 6
        total, scale, left, draws = total + scale**2 * fine, scale * 64, coarse, draws + 1
    assert total + scale**2 * left == shares * variance
    assert draws <= 5


def _farthest_ratio(coarse: int, fine: int, places: list[int]) -> mpmath.mpf:
    """By how much, relatively, a probability of 64 N_Z(0, coarse) + N_Z(0, fine) is off; its own sum in full."""
    whole = 64**2 * coarse + fine

    def mass(variance: int, reach: int) -> mpmath.mpf:
        return 1 + 2 * mpmath.fsum(mpmath.exp(-mpmath.mpf(k * k) / (2 * variance)) for k in range(1, reach))

    normal = mass(coarse, 30 * 40) * mass(fine, 30 * 200)
    total = mpmath.sqrt(2 * mpmath.pi * whole)  # by Poisson summation, up to exp(-2 pi^2 whole)
    far = mpmath.mpf(0)
    for k in places:
        exponents = (
            mpmath.mpf(j * j) / (2 * coarse) + mpmath.mpf((k - 64 * j) ** 2) / (2 * fine)
            for j in range(k // 64 - 300, k // 64 + 300)
        )
        found = mpmath.fsum(mpmath.exp(-exponent) for exponent in exponents) / normal
        far = max(far, abs(found * total / mpmath.exp(-mpmath.mpf(k * k) / (2 * whole)) - 1))
    return far


def test_a_composed_law_is_the_discrete_gaussian_within_the_factor_that_is_claimed() -> None:
    """At the smallest variance that is composed, so at the largest factor; and with less smoothing it is not."""
    places = [0, 1, 31, 32, 33, 64, 1000, 3001]
    with mpmath.workdps(90):
        coarse, fine = parts_of(2**17 + 1)
        assert _farthest_ratio(coarse, fine, places) < mpmath.mpf(2) ** -167
        assert _farthest_ratio(coarse, fine // 8, places) > mpmath.mpf(2) ** -40


@pytest.mark.parametrize(("shares", "variance"), SUMS)
def test_sums_have_their_variance_and_shape_and_the_test_sees_two_percent(shares: int, variance: int) -> None:
    drawn = summed_gaussian(Stream(b"sums" * 8), 200_000, shares, variance)
    assert drawn.dtype == np.int64
    assert int(np.abs(drawn).max()) <= max_draw(shares * variance)
    for off, fits in ((1.0, True), (0.98, False), (1.02, False)):
        assert bool(p_value(drawn, off**2 * shares * variance) > FALSE_ALARM) is fits


@pytest.mark.parametrize(("shares", "variance"), SUMS)
def test_low_digits_are_even_and_the_test_sees_digits_that_are_not_smoothed(
    shares: int, variance: int
) -> None:
    """A composition shows, if anywhere, in what is left of a division by its scale."""
    drawn = summed_gaussian(Stream(b"digits.." * 4), 200_000, shares, variance)
    for modulus in (64, 4096):
        assert stats.chisquare(np.bincount(drawn % modulus, minlength=modulus)).pvalue > FALSE_ALARM
    narrow = (
        64 * discrete_gaussian(Stream(bytes(32)), 200_000) + drawn % 60
    )  # digits of which four are missing
    assert stats.chisquare(np.bincount(narrow % 64, minlength=64)).pvalue < FALSE_ALARM


def _law(variance: int, reach: int) -> Array:
    mass = np.exp(-(np.arange(-reach, reach + 1).astype(np.float64) ** 2) / (2 * variance))
    return cast("Array", mass / mass.sum())


def test_one_draw_follows_the_exact_convolution_of_the_shares() -> None:
    """Three shares of the smallest variance: convolved by the whole, against the law and against what is drawn."""
    shares, one = 3, _law(MIN_VARIANCE, 2**14)
    size = 2 ** (len(one) * shares).bit_length()
    exact = np.fft.irfft(np.fft.rfft(one, size) ** shares, size)[: shares * (len(one) - 1) + 1]
    middle = (len(exact) - 1) // 2
    assert np.abs(exact - _law(shares * MIN_VARIANCE, middle)).max() < 1e-15
    drawn = summed_gaussian(Stream(b"convolution of three shares....."), 1_000_000, shares, MIN_VARIANCE)
    added = sum(discrete_gaussian(Stream(bytes([part]) * 32), 1_000_000, MIN_VARIANCE) for part in range(3))
    edges = np.linspace(-6000, 6000, 121).astype(np.int64)
    expected = np.add.reduceat(exact, np.concatenate([[0], edges + middle])) * 1_000_000
    for draws, fits in ((drawn, True), (added, True), (drawn + 30, False)):
        observed = np.bincount(np.searchsorted(edges, draws, side="right"), minlength=122)
        assert bool(stats.chisquare(observed, expected, sum_check=False).pvalue > FALSE_ALARM) is fits


@given(SHARES, VARIANCES)
@settings(max_examples=300, deadline=None)
def test_a_sum_drawn_once_is_no_larger_than_the_headroom_of_all_shares(shares: int, variance: int) -> None:
    assert max_draw(shares * variance) <= shares * max_draw(variance)


def test_of_shares_in_parts_the_sum_is_no_larger_than_all_parts_together() -> None:
    for count in range(3, 129):
        levels = Levels(count - 1, levels_between(min(count - 2, 20), 3))
        for lost, left in zip(levels.lost, levels.left, strict=True):
            assert max_draw((count - lost) * left) <= count * levels.max_draw


@pytest.mark.parametrize(("shares", "variance"), SUMS)
def test_a_draw_is_cut_at_its_bound_and_without_that_would_be_beyond(shares: int, variance: int) -> None:
    stream, bound = cast(Stream, Largest()), max_draw(shares * variance)
    assert list(summed_gaussian(stream, 2, shares, variance)) == [bound, bound]
    assert int(_composed(stream, 1, shares * variance)[0]) > bound


@given(st.binary(min_size=32, max_size=32), st.integers(0, 300), st.integers(1, 1000))
@settings(max_examples=20, deadline=None)
def test_a_sum_is_a_function_of_the_key(key: bytes, size: int, shares: int) -> None:
    drawn = summed_gaussian(Stream(key), size, shares)
    assert drawn.shape == (size,)
    assert np.array_equal(drawn, summed_gaussian(Stream(key), size, shares))


@pytest.mark.parametrize(
    ("shares", "variance"),
    [
        (0, VARIANCE),
        (-1, VARIANCE),
        (MAX_SHARES + 1, VARIANCE),
        (5, MIN_VARIANCE - 1),
        (5, VARIANCE + 1),
        (5, 0),
    ],
)
def test_a_sum_of_which_nobody_draws_a_share_is_refused(shares: int, variance: int) -> None:
    with pytest.raises(UnsafeParameters):
        summed_gaussian(Stream(bytes(32)), 3, shares, variance)
