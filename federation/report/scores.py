"""What stands beside exact metrics in a simulation: their intervals, a confusion matrix, a calibration curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Strict

from privacy.canonical import finite

_Number = Annotated[float | None, AfterValidator(finite)]
_List = Strict(False)
Intervals = Mapping[str, Annotated[tuple[_Number, _Number], _List] | None]
"""By metric, its 95 % interval; None where it has none."""
Confusion = Annotated[tuple[Annotated[tuple[int, ...], _List], ...], _List]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Band(_Part):
    """Some records next to each other by score: how many, their mean score, the share of positives among them."""

    n: int
    predicted: _Number
    observed: _Number
    low: _Number
    high: _Number


class Calibration(_Part):
    """Calibration-in-the-large and the curve: what scores claim, and what was so."""

    predicted: _Number
    observed: _Number
    bands: Annotated[tuple[Band, ...], _List]


class Clipped(_Part):
    """The share of training records (or patients) whose gradient is longer than the clipping norm.

    `first`: at the params that round 1 starts from; `last`: at those of the model. Of `units` that were looked at.
    """

    first: _Number
    last: _Number
    units: int
