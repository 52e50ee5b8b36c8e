"""DP-66: limits hold the truth as often as they say, at numbers small and large, and are no wider than need be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtri

from federation.audit.measured import limits
from federation.audit.measured.limits import Limits
from privacy.mechanism.noise import Stream
from tests.scale import scaled

ERROR = 0.02
STREAM_KEY = bytes(range(32))


def uniform(stream: Stream, size: int) -> NDArray[np.float64]:
    return (stream.words(size) >> np.uint64(11)) * 2.0**-53 + 2.0**-54


def missed(count: int, of: int) -> bool:
    """Whether so many misses of a chance of ERROR each are more than chance makes, once in a million times."""
    return bool(stats.binom.sf(count - 1, of, ERROR) < 1e-6)


def test_a_deviation_has_the_limits_of_the_chi_squared_law() -> None:
    found = limits.deviation(250.0, 100, ERROR)
    low, high = stats.chi2.interval(1 - 2 * ERROR, 100)
    assert found == pytest.approx((math.sqrt(2.5), math.sqrt(250 / high), math.sqrt(250 / low)))


@pytest.mark.parametrize(("coins", "rate", "noise"), [(40, 0.1, 1.0), (2000, 0.02, 4.0), (200, 1.0, 3.0)])
def test_rate_and_length_hold_the_truth(coins: int, rate: float, noise: float) -> None:
    stream, each, games = Stream(STREAM_KEY), 2.0, scaled(40)
    rates = lengths = 0
    for _ in range(games):
        drawn = int((uniform(stream, coins) < rate).sum())
        total = each * drawn + noise * float(ndtri(uniform(stream, 1)[0]))
        found = limits.rate(total, coins, each, noise, ERROR)
        rates += not found.hold(rate)
        lengths += not limits.length(total, coins, Limits(rate, rate, rate), noise, ERROR).hold(each)
    assert not missed(rates, 2 * games) and not missed(lengths, 2 * games)


def test_limits_are_not_much_wider_than_those_of_a_normal_law() -> None:
    coins, rate = 100_000, 0.1
    found = limits.rate(coins * rate, coins, 1.0, 0.0, 0.001)
    half = 3.09 * math.sqrt(rate * (1 - rate) / coins)
    assert found.found == pytest.approx(rate)
    assert half < found.upper - rate < 1.3 * half
    assert half < rate - found.lower < 1.3 * half


def test_a_chance_of_one_and_of_none_are_limits_too() -> None:
    assert limits.rate(100.0, 100, 1.0, 0.1, ERROR).upper == 1.0
    assert limits.rate(0.0, 100, 1.0, 0.1, ERROR).lower == 0.0
    assert limits.length(-1.0, 100, Limits(0.1, 0.1, 0.1), 5.0, ERROR).lower == 0.0


def test_independent_noise_has_the_likeness_that_the_law_says_and_equal_noise_has_not() -> None:
    stream, count, length = Stream(STREAM_KEY), 12, 50
    chances, shares = [], []
    for _ in range(scaled(40)):
        noise = ndtri(uniform(stream, count * length)).reshape(count, length)
        unit = noise / np.linalg.norm(noise, axis=1, keepdims=True)
        cosine = float(np.abs(unit @ unit.T - np.eye(count)).max())
        chances.append(limits.likeness_chance(cosine, length, count * (count - 1) // 2))
        share = float((noise.sum(axis=0) ** 2).sum() / (count * (noise**2).sum()))
        shares.append(limits.share_chance(share, count, length))
    assert not missed(sum(each < ERROR for each in chances), len(chances))
    assert not missed(sum(each < ERROR for each in shares), len(shares))
    assert limits.likeness_chance(1.0, length, 66) == 0.0
    assert limits.share_chance(2 / count, count, length) < 1e-4
    assert limits.share_chance(0.9, 1, length) == 1.0
