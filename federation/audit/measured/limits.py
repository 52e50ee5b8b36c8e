"""Limits of what was measured: each misses the truth with a chance of at most `error`, on either side.

The noise on nobody's coordinate is normal, so its squares are chi-squared. What canaries add up to is a binomial
number of equal lengths, and normal noise: Chernoff's bound holds for that at any number of coins (Chernoff 1952),
and costs little here. The cosine of two vectors of noise, and the share of all noise in their sum, follow beta laws
exactly, whatever the scale of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import betainc, betaincc, chdtri

_STEPS = 50
_NEAR, _FAR = np.geomspace(0.2, 3, 60), np.geomspace(1e-4, 50, 60)


class Limits(NamedTuple):
    """The figure, and between which two the truth lies."""

    found: float
    lower: float
    upper: float

    def hold(self, value: float) -> bool:
        """Whether a value lies between them."""
        return self.lower <= value <= self.upper

    def times(self, factor: float) -> Limits:
        """In another unit."""
        return Limits(*(factor * each for each in self))


def deviation(squares: float, count: int, error: float) -> Limits:
    """Of so many normal values about zero, by their sum of squares."""
    lower, upper = squares / float(chdtri(count, error)), squares / float(chdtri(count, 1 - error))
    return Limits(*(math.sqrt(each) for each in (squares / count, lower, upper)))


def rate(total: float, coins: int, length: float, noise: float, error: float) -> Limits:
    """The chance of a coin, from what `coins` of them added up to: `length` each, with normal noise on all."""

    def too_many(chance: float) -> bool:
        return log_tail(total, coins, chance, length, noise) > math.log(error)

    def too_few(chance: float) -> bool:
        return log_tail(-total, coins, chance, -length, noise) > math.log(error)

    found = min(1.0, max(0.0, total / (coins * length)))
    lower = 0.0 if too_many(0.0) else _edge(lambda chance: not too_many(chance), 0.0, max(found, 1e-12))
    upper = 1.0 if too_few(1.0) else _edge(too_few, found, 1.0)
    return Limits(found, lower, upper)


def length(total: float, coins: int, chances: Limits, noise: float, error: float) -> Limits:
    """The length of each, where the chance lies in `chances`."""

    def too_many(each: float) -> bool:  # more than this length makes
        return log_tail(total, coins, chances.upper, each, noise) < math.log(error)

    def too_few(each: float) -> bool:
        return log_tail(-total, coins, chances.lower, -each, noise) < math.log(error)

    found = total / (coins * chances.found) if chances.found > 0 else math.inf
    if not (math.isfinite(found) and found > 0):
        return Limits(max(found, 0.0), 0.0, math.inf)
    most = found
    while not too_few(most) and most < 1e6 * found:
        most *= 2
    lower = _edge(too_many, 0.0, found) if too_many(0.0) else 0.0
    upper = _edge(lambda each: not too_few(each), found, most) if too_few(most) else math.inf
    return Limits(found, lower, upper)


def log_tail(total: float, coins: int, chance: float, each: float, noise: float) -> float:
    """The log of a bound on the chance that the sum is `total` or more: 0 where that is not far out."""
    mean, variance = coins * chance * each, coins * chance * (1 - chance) * each * each + noise * noise
    if total <= mean:
        return 0.0
    if variance == 0:
        return -math.inf
    tilts = (total - mean) / variance * _NEAR  # any tilt gives a bound
    if each:
        tilts = np.concatenate([tilts, _FAR / abs(each)])
    out = math.log1p(-chance) if chance < 1 else -math.inf
    with np.errstate(over="ignore", invalid="ignore"):
        logs = (
            coins * np.logaddexp(out, _log(chance) + tilts * each) + (tilts * noise) ** 2 / 2 - tilts * total
        )
    known = logs[~np.isnan(logs)]
    return min(0.0, float(known.min())) if len(known) else 0.0


def likeness_chance(cosine: float, length: int, pairs: int) -> float:
    """How probable it is that of so many pairs of independent noise one is as like as this."""
    return min(1.0, pairs * float(betaincc(0.5, (length - 1) / 2, min(1.0, cosine * cosine))))


def share_chance(share: float, vectors: int, length: int) -> float:
    """How probable a share as far from the middle is, if the vectors are independent."""
    if vectors < 2:
        return 1.0
    below = float(betainc(length / 2, (vectors - 1) * length / 2, min(1.0, max(0.0, share))))
    above = float(betaincc(length / 2, (vectors - 1) * length / 2, min(1.0, max(0.0, share))))
    return min(1.0, 2 * min(below, above))


def _log(chance: float) -> float:
    return math.log(chance) if chance > 0 else -math.inf


def _edge(is_low: Callable[[float], bool], low: float, high: float) -> float:
    """Where `is_low` turns false between two places."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_low(middle) else (low, middle)
    return (low + high) / 2
