"""DP-72: Wide noise, for large models: exact, the same however it is cut, never more than a ring has room for."""

from __future__ import annotations

import hashlib
import math
from typing import Any, cast

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privacy.errors import UnsafeParameters
from privacy.mechanism import noise
from privacy.mechanism.noise import MIN_VARIANCE, VARIANCE, Stream, max_draw
from privacy.mechanism.summed import summed_gaussian
from privacy.mechanism.wide import BLOCK, WIDTHS, parts_of, wide_blocks, wide_gaussian
from tests.privacy.mechanism.laws import Largest, p_value
from tests.privacy.mechanism.test_noise import searched

FALSE_ALARM = 1e-6  # of each statistical test below; keys are fixed, so none ever flickers
VARIANCES = st.integers(MIN_VARIANCE, VARIANCE) | st.sampled_from([MIN_VARIANCE, VARIANCE])
LAWS = [(MIN_VARIANCE, 2), (VARIANCE, 2), (178_956_971, 8), (VARIANCE // 4, 32), (VARIANCE, 256)]
Array = np.ndarray[Any, np.dtype[Any]]


@given(VARIANCES, st.sampled_from(WIDTHS))
@settings(max_examples=300, deadline=None)
def test_a_variance_is_composed_exactly_of_parts_as_large_as_the_proof_needs(
    variance: int, width: int
) -> None:
    coarse, fine = parts_of(width * width * variance)
    assert 2**16 * coarse + fine == width * width * variance
    assert 56 <= coarse <= VARIANCE - 8 and 8 * 2**16 <= fine < 9 * 2**16
    assert max_draw(fine) <= 10_368
    smooth = fine / 2**16
    assert coarse * smooth / (coarse + smooth) >= 7


def _mass(variance: int) -> mpmath.mpf:
    """The sum of exp(-k^2 / (2 variance)) over all integers, term by term."""
    reach = 20 * math.isqrt(variance) + 20
    return 1 + 2 * mpmath.fsum(mpmath.exp(-mpmath.mpf(k * k) / (2 * variance)) for k in range(1, reach))


def _farthest_ratio(coarse: int, fine: int) -> mpmath.mpf:
    """By how much, relatively, a probability of 256 N_Z(0, coarse) + N_Z(0, fine) is off; its own sum in full."""
    whole = 2**16 * coarse + fine
    normal, far = _mass(coarse) * _mass(fine), mpmath.mpf(0)
    total = mpmath.sqrt(2 * mpmath.pi * whole)  # by Poisson summation, up to exp(-2 pi^2 whole)
    for k in (0, 1, 100, 127, 128, 129, 256, 4000, 20_001):
        exponents = (
            mpmath.mpf(j * j) / (2 * coarse) + mpmath.mpf((k - 256 * j) ** 2) / (2 * fine)
            for j in range(k // 256 - 90, k // 256 + 90)
        )
        found = mpmath.fsum(mpmath.exp(-exponent) for exponent in exponents) / normal
        far = max(far, abs(found * total / mpmath.exp(-mpmath.mpf(k * k) / (2 * whole)) - 1))
    return far


def test_a_composed_law_is_the_discrete_gaussian_within_the_factor_that_is_claimed() -> None:
    """At the smallest variance, so at the largest factor; and with less smoothing it is not."""
    with mpmath.workdps(80):
        coarse, fine = parts_of(4 * MIN_VARIANCE)
        assert coarse == 56
        assert mpmath.mpf(2) ** -230 < _farthest_ratio(coarse, fine) < mpmath.mpf(2) ** -197
        assert _farthest_ratio(coarse + 7, fine - 7 * 2**16) > mpmath.mpf(2) ** -40


@pytest.mark.parametrize("variance", [56, 1000, 2**14 - 8, 8 * 2**16, 9 * 2**16 - 1])
def test_the_tables_of_the_parts_are_exact_to_two_to_the_minus_120(variance: int) -> None:
    high, low = noise._cumulative(variance)
    assert len(high) == max_draw(variance)
    with mpmath.workdps(60):
        total, partial, at = _mass(variance), mpmath.mpf(0), 0
        for j in (0, 1, 10, len(high) // 8, len(high) // 3):
            for k in range(at, j + 1):
                partial += (1 if k == 0 else 2) * mpmath.exp(-mpmath.mpf(k * k) / (2 * variance))
            at = j + 1
            entry = (int(high[j]) << 64) + int(low[j])
            assert abs(mpmath.mpf(entry) / 2**128 - partial / total) < mpmath.mpf(2) ** -120
    assert (int(high[-1]) << 64) + int(low[-1]) > 2**128 - 2**8
    assert high[-1] == 2**64 - 1


@pytest.mark.parametrize(("variance", "width"), LAWS)
def test_draws_have_their_variance_and_shape_and_the_test_sees_two_percent(variance: int, width: int) -> None:
    drawn = wide_gaussian(Stream(b"wide" * 8), 200_000, variance, width)
    assert drawn.dtype == np.int64
    assert int(np.abs(drawn).max()) <= max_draw(width * width * variance)
    for off, fits in ((1.0, True), (0.98, False), (1.02, False)):
        assert bool(p_value(drawn, (off * width) ** 2 * variance) > FALSE_ALARM) is fits


@pytest.mark.parametrize(("variance", "width"), LAWS)
def test_low_digits_are_even_and_the_test_sees_digits_that_are_not_smoothed(
    variance: int, width: int
) -> None:
    """A composition shows, if anywhere, in what is left of a division by its scale."""
    drawn = wide_gaussian(Stream(b"digits.." * 4), 500_000, variance, width)
    for modulus in (256, 1021):
        assert stats.chisquare(np.bincount(drawn % modulus, minlength=modulus)).pvalue > FALSE_ALARM
    missing = 256 * (drawn // 256) + drawn % 250
    assert stats.chisquare(np.bincount(missing % 256, minlength=256)).pvalue < FALSE_ALARM


def test_a_wide_share_and_a_sum_drawn_at_once_have_one_law() -> None:
    """Two compositions of one variance, with other scales, in 64 cells; a variance four percent off is told."""
    variance, share = 2**27, wide_gaussian(Stream(bytes(32)), 400_000, 2**27, 8)
    edges = np.quantile(share, np.arange(1, 64) / 64)
    for off, fits in ((0, True), (variance // 25, False), (-variance // 25, False)):
        at_once = summed_gaussian(Stream(b"at once." * 4), 400_000, 1, variance + off, 8)
        counts = [np.bincount(np.searchsorted(edges, drawn), minlength=64) for drawn in (share, at_once)]
        assert bool(stats.chi2_contingency(counts).pvalue > FALSE_ALARM) is fits


def test_draws_and_the_bytes_they_take_are_those_of_a_search_block_by_block() -> None:
    one, other = (Stream(b"wide, by guides and by searches.") for _ in range(2))
    coarse, fine = parts_of(4 * MIN_VARIANCE)
    for size in (0, 1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 40_001):
        slow = [
            256 * searched(other, part, coarse) + searched(other, part, fine)
            for part in (min(BLOCK, size - start) for start in range(0, size, BLOCK))
        ]
        drawn = wide_gaussian(one, size, MIN_VARIANCE, 2)
        assert np.array_equal(drawn, np.concatenate([*slow, np.empty(0, np.int64)]))
        assert one.take(13) == other.take(13)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 3 * BLOCK), st.sampled_from(WIDTHS[:4]))
@settings(max_examples=20, deadline=None)
def test_noise_is_a_function_of_the_key_however_it_is_cut(key: bytes, size: int, width: int) -> None:
    blocks = list(wide_blocks(Stream(key), size, VARIANCE, width))
    assert all(len(block) == BLOCK for block in blocks[:-1])
    drawn = wide_gaussian(Stream(key), size, VARIANCE, width)
    assert drawn.shape == (size,)
    assert np.array_equal(drawn, np.concatenate([*blocks, np.empty(0, np.int64)]))


def test_a_known_key_gives_known_noise() -> None:
    """What a site adds from a secret, servers and auditors of all versions have to draw again."""
    found = [
        hashlib.sha256(
            wide_gaussian(Stream(bytes(range(32))), 40_000, variance, width).astype("<i8").tobytes()
        ).hexdigest()
        for variance, width in LAWS
    ]
    assert [digest[:16] for digest in found] == KNOWN


KNOWN = ["99d08a28c9b28f19", "ab69657ab492fbca", "2392e3c320e98703", "1155d5bbf499e845", "594c2e4e76a9ad90"]


@pytest.mark.parametrize(("variance", "width"), LAWS)
def test_a_draw_is_cut_at_its_bound_and_without_that_would_be_beyond(variance: int, width: int) -> None:
    whole = width * width * variance
    coarse, fine = parts_of(whole)
    assert 256 * max_draw(coarse) + max_draw(fine) > max_draw(whole)
    drawn = wide_gaussian(cast(Stream, Largest()), 2, variance, width)
    assert list(drawn) == [max_draw(whole)] * 2


@pytest.mark.parametrize(
    ("variance", "width"),
    [(MIN_VARIANCE - 1, 2), (VARIANCE + 1, 2), (0, 8), (VARIANCE, 1), (VARIANCE, 3), (VARIANCE, 512)],
)
def test_noise_for_which_nothing_is_shown_is_refused(variance: int, width: int) -> None:
    with pytest.raises(UnsafeParameters):
        wide_gaussian(Stream(bytes(32)), 3, variance, width)
    if width != 1:
        with pytest.raises(UnsafeParameters):
            summed_gaussian(Stream(bytes(32)), 3, 1, variance, width)
