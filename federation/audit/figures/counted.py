"""Whether a published histogram can be one of the plan's cells, where no transcript shows its sum.

A cell that the noise hides is not told, so not every figure can be counted again. All that can be is: the shape of
the whole, that no figure is outside of its interval or range, what follows from other figures, and, of whoever has
no hidden cell, every figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from federation.kinds.cells import Cells
from federation.kinds.figures import LOSS_BOUND
from federation.report.figures.published import Counted, Histogram
from federation.report.parts import Part, Ranged
from federation.sums.ratios import LEAST
from federation.sums.scores import counted, names_of

ROUNDING = 0.01  # between the deviation of the noise as it is told and by the plain formula
_NEAR = 1e-6
_LOWEST, _HIGHEST = {"gini": -1.0, "calibration": -1.0}, {"loss": LOSS_BOUND}


def wrong_with(told: Any, headline: Mapping[str, Any], cells: Cells, deviation: float) -> str | None:
    """What shows that this is no histogram of the plan's cells and noise; None where nothing does."""
    try:
        histogram = Histogram.model_validate(told)
    except ValidationError:
        return "has other figures than a histogram has"
    edges, groups = (0.0, *cells.edges, 1.0), {table.name: set(table.parts) for table in cells.groups}
    is_as_planned = (
        histogram.edges == edges
        and histogram.threshold == cells.threshold
        and {name: set(parts) for name, parts in histogram.groups.items()} == groups
        and math.isclose(histogram.deviation, deviation, rel_tol=ROUNDING)
    )
    if not is_as_planned:
        return "has other cells, or noise, than the plan"
    if not all(_is_possible(one, cells, noise) for one, noise in _blocks(histogram, cells)):
        return "holds a figure that cannot be"
    if not all(_follows(one, cells, noise) for one, noise in _blocks(histogram, cells)):
        return "holds a figure that does not follow from its cells"
    if not _is_headline(histogram, headline):
        return "says something else than the figures beside it"
    return None


def _blocks(histogram: Histogram, cells: Cells) -> Iterator[tuple[Counted, float]]:
    """Everybody and each group, with the variance of the noise on a cell."""
    noise = histogram.deviation**2
    yield histogram, noise * cells.shared
    for parts in histogram.groups.values():
        for one in parts.values():
            yield one, noise


def _is_possible(one: Counted, cells: Cells, noise: float) -> bool:
    least = LEAST * math.sqrt(noise)
    counts = [count for row in one.cells for count in row if count is not None]
    return (
        [len(row) for row in one.cells] == [cells.bins] * 2
        and all(count > least * (1 - _NEAR) for count in counts)
        and set(one.metrics) == set(names_of(cells))
        and all(_is_ranged(name, ranged) for name, ranged in one.metrics.items())
        and all(_is_within(0.0, band.low, band.observed, band.high, 1.0) for band in one.calibration)
    )


def _is_ranged(name: str, one: Ranged | None) -> bool:
    low, high = _LOWEST.get(name, 0.0), _HIGHEST.get(name, 1.0)
    return one is None or _is_within(low, one.low, one.value, one.high, high)


def _is_within(*rising: float | None) -> bool:
    numbers: Sequence[float] = [math.nan if one is None else one for one in rising]
    return all(one <= other + _NEAR for one, other in pairwise(numbers))


def _follows(one: Counted, cells: Cells, noise: float) -> bool:
    """Whether every figure is what these cells make; True where the noise hides one of them."""
    counts = [count for row in one.cells for count in row if count is not None]
    if len(counts) < cells.block:
        return True
    return is_said(Counted.model_validate(counted(cells, counts, noise)), one)


def is_said(expected: Part, told: Part) -> bool:
    """Whether a part, which may have more fields, has those that are expected."""
    fields = set(type(expected).model_fields)
    return alike(expected.model_dump(), told.model_dump(include=fields))


def alike(one: Any, other: Any) -> bool:
    """Whether both are one value, up to how floats are rounded."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float | int) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=_NEAR, abs_tol=_NEAR)
    return bool(one == other)


def _is_headline(histogram: Histogram, headline: Mapping[str, Any]) -> bool:
    """Whether records, accuracy and loss are those of the histogram."""
    said = {name: histogram.metrics[name] for name in ("accuracy", "loss")}
    own: dict[str, float | None] = {"records": histogram.records}
    own |= {name: None if ranged is None else ranged.value for name, ranged in said.items()}
    if None in own.values():
        own = dict.fromkeys(own)
    return alike(own, {name: headline[name] for name in own})
