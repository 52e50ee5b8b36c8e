"""A noised histogram of scores as report.json tells it: `federation.sums.scores` makes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from federation.report.parts import AnyList, Number, Part, Ranged


class Share(Part):
    """The share of the second class among the scores of one bin. `n`: about how many they are."""

    n: Number
    predicted: Number
    observed: Number
    low: Number
    high: Number


class Counted(Part):
    """Some records, with noise; None where the noise hides a figure. `cells`: by class, then by bin."""

    records: Number
    positives: Number
    metrics: Mapping[str, Ranged | None]
    calibration: Annotated[tuple[Share, ...], AnyList]
    cells: Annotated[tuple[Annotated[tuple[Number, ...], AnyList], ...], AnyList]


class Histogram(Counted):
    """All records, and those of each group. `deviation`: of the noise on a cell of a group."""

    edges: Annotated[tuple[float, ...], AnyList]
    threshold: float
    deviation: float
    groups: Mapping[str, Mapping[str, Counted]]


def rows_of(told: Histogram | None) -> Iterator[tuple[str, Counted]]:
    """Everybody, then each group, with a name that people can read."""
    if told is None:
        return
    yield "all", told
    for name, parts in told.groups.items():
        for part, counted in parts.items():
            yield f"{name} {part}", counted
