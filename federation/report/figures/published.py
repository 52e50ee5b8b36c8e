"""Published figures as report.json tells them, made by `federation.sums.scores` and `federation.sums.measured`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from federation.report.parts import AnyList, Number, Part, Ranged

_FIRST = ("c_index", "mean_brier", "deviance", "mae", "rmse", "r2", "bias")


class Share(Part):
    """What was observed in one bin of what is predicted; of classes, the share of the second among its scores.

    `n`: about how many records they are.
    """

    n: Number
    predicted: Number
    observed: Number
    low: Number
    high: Number


class _Noised(Part):
    """Some records, with noise; None where the noise hides a figure."""

    records: Number
    positives: Number
    metrics: Mapping[str, Ranged | None]
    calibration: Annotated[tuple[Share, ...], AnyList]


class Counted(_Noised):
    """Records of two classes. `cells`: by class, then by bin."""

    cells: Annotated[tuple[Annotated[tuple[Number, ...], AnyList], ...], AnyList]


class Histogram(Counted):
    """All records, and those of each group. `deviation`: of the noise on a cell of a group."""

    edges: Annotated[tuple[float, ...], AnyList]
    threshold: float
    deviation: float
    groups: Mapping[str, Mapping[str, Counted]]


class Measured(_Noised):
    """Records of which no class is predicted.

    `positives`: about how many had the event, of times. `calibration`: what was observed by what is predicted.
    `sums`: what was released, as it is (federation/kinds/moments.py).
    """

    sums: Annotated[tuple[float, ...], AnyList]


class Measures(Measured):
    """All records, and those of each group. `edges`: of the bins of what is predicted, or of the scores of times.

    `deviation`: of the noise on each sum of a group.
    """

    edges: Annotated[tuple[float, ...], AnyList]
    deviation: float
    groups: Mapping[str, Mapping[str, Measured]]


def in_order(names: Iterable[str]) -> list[str]:
    """Names of figures as people look for them: what a kind is judged by first, then by name and number.

    >>> in_order(["brier_at_180", "bias", "brier_at_30", "mae", "c_index"])
    ['c_index', 'mae', 'bias', 'brier_at_30', 'brier_at_180']
    """

    def key(name: str) -> tuple[int, str, float]:
        place = _FIRST.index(name) if name in _FIRST else len(_FIRST)
        text, _, number = name.rpartition("_")
        is_number = number.replace(".", "", 1).isdigit()
        return (place, text, float(number)) if is_number else (place, name, 0.0)

    return sorted(names, key=key)


def rows_of(told: Histogram | Measures | None) -> Iterator[tuple[str, Counted | Measured]]:
    """Everybody, then each group, with a name that people can read."""
    if told is None:
        return
    yield "all", told
    for name, parts in told.groups.items():
        for part, counted in parts.items():
            yield f"{name} {part}", counted
