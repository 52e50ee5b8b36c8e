"""Figures of bounded sums over a number or a count (`federation.kinds.moments`), in the target's own unit.

    mae, rmse, bias   of errors, each counted as half the range where it is more
    r2                1 - squared error / squared deviation of the target from its mean
    deviance          of counts: Poisson's, of each record at most DEVIANCE

A mean is a ratio of two noised sums. Its interval has the noise of both, and chance: how much single records
differ, which the sum of squares beside it tells. Of r2 chance is bounded from above, as the sums do not tell how
errors and targets go together. `calibration` holds, bin by bin, what was observed where so much was predicted: the
middle of the bin less the mean error in it, so that the distance between the two is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from federation.kinds.moments import DEVIANCE, SUMS, Numbers
from federation.sums.ratios import LEAST, Z
from federation.sums.ratios import Numbers as Sums


@dataclass(frozen=True)
class Mean:
    """A value between `least` and `most`, with the variance that noise and chance make."""

    value: float
    variance: float
    least: float = -1.0
    most: float = 1.0

    def told(self, unit: float = 1.0, origin: float = 0.0) -> dict[str, float]:
        """The value and its interval: `unit` times each, from `origin` on."""
        half = Z * math.sqrt(self.variance)
        ends = sorted(
            origin + unit * min(self.most, max(self.least, self.value + side * half)) for side in (-1, 0, 1)
        )
        return {"value": ends[1], "low": ends[0], "high": ends[2]}


def numbers(blocks: Numbers, sums: Sums, noise: float) -> dict[str, Any]:
    """All figures of one block; None where the noise hides how many records there are."""
    count = sums[0] if sums[0] > LEAST * math.sqrt(noise) else None
    names = ("deviance", "mae", "rmse", "bias") if blocks.is_count else ("mae", "rmse", "r2", "bias")
    told: dict[str, Any] = dict.fromkeys(names)
    if count is not None:
        told |= _metrics(blocks, sums, noise, names)
    bands = _bands(blocks, sums, noise)
    return {"records": count, "positives": None, "metrics": told, "calibration": bands}


def mean(above: float, squares: float, count: float, noise: float, least: float, most: float) -> Mean:
    """A sum over a count, where `squares` is the sum of squares of what was added up."""
    value = above / count
    chance = max(squares / count - value * value, 0.0) / count
    return Mean(value, noise * (1 + value * value) / (count * count) + chance, least, most)


def _metrics(blocks: Numbers, sums: Sums, noise: float, names: tuple[str, ...]) -> dict[str, Any]:
    count, error, absolute, square, fourth, own, own_square = sums[:SUMS]
    half = blocks.half
    found: dict[str, Any] = {
        "mae": mean(absolute, square, count, noise, 0.0, 1.0).told(half),
        "bias": mean(error, square, count, noise, -1.0, 1.0).told(half),
        "rmse": _root(mean(square, fourth, count, noise, 0.0, 1.0), half),
    }
    if blocks.is_count:
        found["deviance"] = mean(own, own_square, count, noise, 0.0, 1.0).told(DEVIANCE)
    else:
        found["r2"] = _r2(sums, noise)
    return {name: found[name] for name in names}


def _root(of: Mean, unit: float) -> dict[str, float]:
    """The root of a mean and of the ends of its interval."""
    return {name: unit * math.sqrt(value) for name, value in of.told().items()}


def _r2(sums: Sums, noise: float) -> dict[str, float] | None:
    """None where noise hides whether targets differ.

    A record moves it by (e^2 - share * d^2) / spread, with d the target's distance from the mean. The square of
    that is at most e^4 + share^2 d^4, and d^4 at most d^2 times the square of the longest d.
    """
    count, _, _, square, fourth, target, target_square = sums[:SUMS]
    middle = target / count
    spread = target_square - target * middle
    unsure = noise * (1 + 4 * middle**2 + middle**4)
    if spread <= LEAST * math.sqrt(unsure):
        return None
    share, longest = square / spread, 1 + min(abs(middle), 1.0)
    chance = max(fourth, 0.0) + share * share * longest * longest * spread
    variance = (noise + share * share * unsure + chance) / (spread * spread)
    return Mean(1 - share, variance, -math.inf).told()


def _bands(blocks: Numbers, sums: Sums, noise: float) -> list[dict[str, float]]:
    """What was observed in each bin whose records the noise does not hide."""
    bins, bands = blocks.bins, []
    counts, errors, squares = (sums[SUMS + place * bins : SUMS + (place + 1) * bins] for place in range(3))
    ends = list(pairwise([-1.0, *blocks.edges, 1.0])) if bins else []
    for (low, high), count, error, square in zip(ends, counts, errors, squares, strict=True):
        if count <= LEAST * math.sqrt(noise):
            continue
        middle = (low + high) / 2
        off = mean(error, square, count, noise, -1.0, 1.0)
        seen = Mean(middle - off.value, off.variance).told(blocks.half, blocks.middle)
        predicted = blocks.middle + blocks.half * middle
        bands.append(
            {
                "n": count,
                "predicted": predicted,
                "observed": seen["value"],
                "low": seen["low"],
                "high": seen["high"],
            }
        )
    return bands
