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
    found = _Sums.of(blocks, sums, noise)
    count = found.values[0] if found.values[0] > LEAST * math.sqrt(found.noise[0]) else None
    names = ("deviance", "mae", "rmse", "bias") if blocks.is_count else ("mae", "rmse", "r2", "bias")
    told: dict[str, Any] = dict.fromkeys(names)
    if count is not None:
        told |= _metrics(blocks, found, names)
    bands = _bands(blocks, found)
    return {"records": count, "positives": None, "metrics": told, "calibration": bands}


@dataclass(frozen=True)
class _Sums:
    """Sums without their weights, and the variance of the noise on each."""

    values: Sums
    noise: Sums

    @classmethod
    def of(cls, blocks: Numbers, sums: Sums, noise: float) -> _Sums:
        pairs = list(zip(sums, blocks.weights, strict=True))
        return cls(
            [one / weight for one, weight in pairs], [noise / (weight * weight) for _, weight in pairs]
        )

    def mean(self, above: int, squares: int, count: int = 0, least: float = 0.0) -> Mean:
        """A sum over a count, by their places; `squares` is the sum of squares of what was added up."""
        many = self.values[count]
        value = self.values[above] / many
        chance = max(self.values[squares] / many - value * value, 0.0) / many
        noise = self.noise[above] + value * value * self.noise[count]
        return Mean(value, noise / (many * many) + chance, least)


_COUNT, _ERROR, _ABSOLUTE, _SQUARE, _FOURTH, _OWN, _OWN_SQUARE = range(SUMS)


def _metrics(blocks: Numbers, sums: _Sums, names: tuple[str, ...]) -> dict[str, Any]:
    half = blocks.half
    found: dict[str, Any] = {
        "mae": sums.mean(_ABSOLUTE, _SQUARE).told(half),
        "bias": sums.mean(_ERROR, _SQUARE, least=-1.0).told(half),
        "rmse": _root(sums.mean(_SQUARE, _FOURTH), half),
    }
    if blocks.is_count:
        found["deviance"] = sums.mean(_OWN, _OWN_SQUARE).told(DEVIANCE)
    else:
        found["r2"] = _r2(sums)
    return {name: found[name] for name in names}


def _root(of: Mean, unit: float) -> dict[str, float]:
    """The root of a mean and of the ends of its interval."""
    return {name: unit * math.sqrt(value) for name, value in of.told().items()}


def _r2(sums: _Sums) -> dict[str, float] | None:
    """None where noise hides whether targets differ.

    A record moves it by (e^2 - share * d^2) / spread, with d the target's distance from the mean. The square of it
    is at most e^4 + share^2 d^4, and d^4 at most d^2 times the square of the longest d.
    """
    values, noise = sums.values, sums.noise
    middle = values[_OWN] / values[_COUNT]
    spread = values[_OWN_SQUARE] - values[_OWN] * middle
    unsure = noise[_OWN_SQUARE] + 4 * middle**2 * noise[_OWN] + middle**4 * noise[_COUNT]
    if spread <= LEAST * math.sqrt(unsure):
        return None
    share, longest = values[_SQUARE] / spread, 1 + min(abs(middle), 1.0)
    chance = max(values[_FOURTH], 0.0) + share * share * longest * longest * spread
    variance = (noise[_SQUARE] + share * share * unsure + chance) / (spread * spread)
    return Mean(1 - share, variance, -math.inf).told()


def _bands(blocks: Numbers, sums: _Sums) -> list[dict[str, float]]:
    """What was observed in each bin whose records the noise does not hide."""
    bands = []
    ends = list(pairwise([-1.0, *blocks.edges, 1.0])) if blocks.bins else []
    for place, (low, high) in enumerate(ends, start=SUMS):
        count = sums.values[place]
        if count <= LEAST * math.sqrt(sums.noise[place]):
            continue
        middle = (low + high) / 2
        off = sums.mean(place + blocks.bins, place + 2 * blocks.bins, place, -1.0)
        seen = Mean(middle - off.value, off.variance).told(blocks.half, blocks.middle)
        predicted = blocks.middle + blocks.half * middle
        told = {"observed": seen["value"], "low": seen["low"], "high": seen["high"]}
        bands.append({"n": count, "predicted": predicted, **told})
    return bands
