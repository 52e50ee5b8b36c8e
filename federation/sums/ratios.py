"""Figures of a noised histogram, each with an interval that the noise is in.

A figure is a function of the cells h. Its variance is that of the noise and of chance, which makes a count about
as variable as it is large: the sum over cells of (noise + max(h, 0)) times the square of the figure's slope. All is
post-processing of the release, and in plain floats, summed exactly: an auditor's come out the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

from federation.kinds.blocks import Blocks

Numbers: TypeAlias = Sequence[float]

LEAST = 3.0  # what a figure is divided by has to exceed so many standard deviations of its noise
Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Estimate:
    """A figure, its slope in each cell, and the range that it is in by definition."""

    value: float
    slope: tuple[float, ...]
    least: float = 0.0
    most: float = 1.0

    def deviation(self, counts: Numbers, noise: float) -> float:
        """The standard deviation by chance and noise; `noise` is the variance on each count."""
        parts = (
            slope * slope * (noise + max(count, 0.0)) for slope, count in zip(self.slope, counts, strict=True)
        )
        return math.sqrt(math.fsum(parts))

    def told(self, counts: Numbers, noise: float, z: float = Z) -> dict[str, float]:
        """The figure within its range, and the ends of its interval."""
        half = z * self.deviation(counts, noise)
        value, low, high = (self._within(self.value + side * half) for side in (0, -1, 1))
        return {"value": value, "low": low, "high": high}

    def _within(self, value: float) -> float:
        return min(self.most, max(self.least, value))


def apart(blocks: Blocks, released: Sequence[float]) -> list[list[tuple[float, ...]]]:
    """The blocks of a released vector: of each table, those of its parts."""
    found, start = [], 0
    for table in blocks.tables:
        ends = range(start, start + blocks.block * len(table.parts), blocks.block)
        found.append([tuple(map(float, released[place : place + blocks.block])) for place in ends])
        start = ends.stop
    return found


def everybody(tables: Sequence[Sequence[tuple[float, ...]]]) -> tuple[float, ...]:
    """A block of all: the mean over the tables of the sum over their blocks."""
    flat = [one for each in tables for one in each]
    return tuple(math.fsum(column) / len(tables) for column in zip(*flat, strict=True))


def by_group(
    blocks: Blocks,
    released: Sequence[float],
    deviation: float,
    told: Callable[[Numbers, float], dict[str, Any]],
) -> dict[str, Any]:
    """What is told of everybody and, as `groups`, of each group. `told`: of a block and its noise's variance."""
    found, noise = apart(blocks, released), deviation * deviation
    groups = {
        table.name: {part: told(block, noise) for part, block in zip(table.parts, each, strict=True)}
        for table, each in zip(blocks.groups, found, strict=False)
    }
    return {**told(everybody(found), noise * blocks.shared), "groups": groups}


def inner(one: Numbers, other: Numbers) -> float:
    """The sum of products."""
    return math.fsum(first * second for first, second in zip(one, other, strict=True))


def ratio(
    above: Numbers, below: Numbers, counts: Numbers, noise: float, least: float = 0.0, most: float = 1.0
) -> Estimate | None:
    """One weighted sum of cells over another; None where noise hides whether anybody is in the second."""
    divisor = inner(below, counts)
    if divisor <= LEAST * math.sqrt(noise * inner(below, below)):
        return None
    value = inner(above, counts) / divisor
    slope = tuple((first - value * second) / divisor for first, second in zip(above, below, strict=True))
    return Estimate(value, slope, least, most)


def mean_of(one: Estimate, other: Estimate) -> Estimate:
    """Half of each."""
    slope = tuple((first + second) / 2 for first, second in zip(one.slope, other.slope, strict=True))
    return Estimate((one.value + other.value) / 2, slope, one.least, one.most)
