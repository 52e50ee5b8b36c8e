"""A noised histogram of scores as report.json tells it: `federation.sums.scores` makes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Strict

from privacy.canonical import finite

_Number = Annotated[float | None, AfterValidator(finite)]
_List = Strict(False)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Ranged(_Part):
    """A figure and the 95 % interval that chance and noise make. `bins`: by how much they may hide, at most."""

    value: _Number
    low: _Number
    high: _Number
    bins: _Number = None


class Share(_Part):
    """The share of the second class among the scores of one bin. `n`: about how many they are."""

    n: _Number
    predicted: _Number
    observed: _Number
    low: _Number
    high: _Number


class Counted(_Part):
    """Some records, with noise; None where the noise hides a figure. `cells`: by class, then by bin."""

    records: _Number
    positives: _Number
    metrics: Mapping[str, Ranged | None]
    calibration: Annotated[tuple[Share, ...], _List]
    cells: Annotated[tuple[Annotated[tuple[_Number, ...], _List], ...], _List]


class Histogram(Counted):
    """All records, and those of each group. `deviation`: of the noise on a cell of a group."""

    edges: Annotated[tuple[float, ...], _List]
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
