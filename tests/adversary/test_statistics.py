"""A statistical battery on masked vectors, which must also catch masks like Flower's.

The vector under test is the real upload of a real machine over a vector of zeros, so it is nothing but masks. Each
test calls a uniform vector biased once in a million keys (ALARM); keys are fixed, so it never flickers. The control
is the sum of seven Mersenne-Twister masks: uniform to the first tests, and linear over GF(2), which the linear
complexity of its lowest bits gives away: 19937, however many masks are summed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import RandomState  # noqa: TID251 - the generator that must be caught
from numpy.typing import NDArray
from scipy.stats import chi2, kstest, norm  # type: ignore[import-untyped]

from privacy.secagg.messages import Masked
from privacy.secagg.ring import accumulate, lane_type, packed_size
from privacy.secagg.server import Phase
from tests.privacy.secagg.rounds import Round

BITS, LENGTH = 20, 45_000
ALARM = 1e-6
TWISTER_STATE = 19_937

Vector = NDArray[np.uint64]
PValue = Callable[[Vector], float]


@pytest.fixture(scope="module")
def masked() -> Vector:
    """What a server sees of a site that sent zeros."""
    cohort = Round(5, ring_bits=BITS, length=LENGTH)
    cohort.vectors[0] = np.zeros(LENGTH, np.uint64)
    cohort.until(Phase.MASK)
    packed = Masked.from_bytes(cohort.answer(0), packed_size(LENGTH, BITS)).packed
    lanes = np.zeros(LENGTH, lane_type(BITS))
    accumulate(lanes, packed, BITS)
    return lanes.astype(np.uint64) % np.uint64(1 << BITS)  # the accumulator itself is not reduced


@pytest.fixture(scope="module")
def twisted() -> Vector:
    """Seven masks from Mersenne Twisters of distinct seeds, summed in the ring."""
    masks = (RandomState(seed).randint(0, 1 << BITS, LENGTH, np.uint64) for seed in range(1, 8))
    total = np.zeros(LENGTH, np.uint64)
    for mask in masks:
        total += mask
    return total % np.uint64(1 << BITS)


def frequencies(vector: Vector) -> float:
    """Chi-square of the top byte and of the low byte, the worse of the two twice over (Bonferroni)."""
    return min(1.0, 2 * min(_chi_square(vector & np.uint64(255)), _chi_square(vector >> np.uint64(BITS - 8))))


def distribution(vector: Vector) -> float:
    """Kolmogorov-Smirnov against the uniform distribution."""
    return float(kstest(vector / float(1 << BITS), "uniform").pvalue)


def serial(vector: Vector) -> float:
    """Correlation of neighbors: with n elements its square root of n multiple is standard normal."""
    centered = vector.astype(np.float64) - vector.mean()
    correlation = float((centered[1:] * centered[:-1]).mean() / centered.var())
    return float(2 * norm.sf(abs(correlation) * len(vector) ** 0.5))


def pairs(vector: Vector) -> float:
    """Chi-square of the low four bits of an element beside those of the next."""
    low = vector & np.uint64(15)
    return _chi_square(low[:-1:2] * np.uint64(16) + low[1::2])


def _chi_square(values: Vector) -> float:
    counts = np.bincount(values.astype(np.int64), minlength=256)
    expected = len(values) / 256
    return float(chi2.sf(float(((counts - expected) ** 2 / expected).sum()), 255))


BATTERY = [frequencies, distribution, serial, pairs]


def linear_complexity(vector: Vector) -> int:
    """Length of the shortest linear recurrence that makes the lowest bits (Berlekamp 1968, Massey 1969)."""
    length, shift, current, previous, window = 0, 1, 1, 1, 0
    for index, bit in enumerate((vector & np.uint64(1)).tolist()):
        window = window << 1 | bit  # bit i is the element i places back
        if (current & window).bit_count() & 1:
            before = current
            current ^= previous << shift
            if 2 * length <= index:
                length, previous, shift = index + 1 - length, before, 0
        shift += 1
    return length


@pytest.mark.parametrize("p_value", BATTERY)
def test_a_masked_vector_of_zeros_looks_uniform(masked: Vector, p_value: PValue) -> None:
    assert p_value(masked) > ALARM


@pytest.mark.parametrize("p_value", BATTERY)
def test_each_test_of_the_battery_can_fail(p_value: PValue) -> None:
    slope = np.arange(LENGTH, dtype=np.uint64) % np.uint64(1 << BITS)
    assert p_value(slope) < ALARM


def test_masked_bits_follow_no_short_recurrence(masked: Vector) -> None:
    # For random bits the complexity is within 40 of half their number, but once in 2^40 keys.
    assert abs(linear_complexity(masked) - LENGTH / 2) < 40


@pytest.mark.parametrize("p_value", BATTERY)
def test_summed_twisters_pass_the_battery(twisted: Vector, p_value: PValue) -> None:
    assert p_value(twisted) > ALARM


def test_summed_twisters_are_caught_by_their_recurrence(twisted: Vector) -> None:
    assert linear_complexity(twisted) <= TWISTER_STATE < LENGTH / 2 - 40
