"""What stands beside exact metrics in a simulation: their intervals, a confusion matrix, a calibration curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from federation.report.parts import AnyList, Number, Part

Intervals = Mapping[str, Annotated[tuple[Number, Number], AnyList] | None]
"""By metric, its 95 % interval; None where it has none."""
Confusion = Annotated[tuple[Annotated[tuple[int, ...], AnyList], ...], AnyList]


class Band(Part):
    """Some records next to each other by score: how many, their mean score, the share of positives among them."""

    n: int
    predicted: Number
    observed: Number
    low: Number
    high: Number


class Calibration(Part):
    """Calibration-in-the-large and the curve: what scores claim, and what was so."""

    predicted: Number
    observed: Number
    bands: Annotated[tuple[Band, ...], AnyList]


class Clipped(Part):
    """The share of training records (or patients) whose gradient is longer than the clipping norm.

    `first`: at the params that round 1 starts from; `last`: at those of the model. Of `units` that were looked at.
    """

    first: Number
    last: Number
    units: int
