"""A published table as report.json tells it: `federation.sums.tables` makes it of plan, params and receipts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Strict

from privacy.canonical import finite

_Number = Annotated[float | None, AfterValidator(finite)]
_List = Strict(False)
_Numbers = Annotated[tuple[float, ...], _List]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Within(_Part):
    """A figure and the 95 % interval that the noise makes, and chance where a figure is of more than counts.

    `bins`: by how much the bins may move a mean, at most.
    """

    value: _Number
    low: _Number
    high: _Number
    bins: _Number = None


class ColumnTable(_Part):
    """One column: `counts` with their noise, of each of `labels`; bins have `edges`, in the column's own unit.

    Of dates, edges, mean and quantiles are days as `date.toordinal` counts them.
    """

    labels: Annotated[tuple[str, ...], _List]
    counts: _Numbers
    records: Within
    missing: Within | None
    edges: _Numbers | None = None
    mean: Within | None = None
    deviation: Within | None = None
    quantiles: Mapping[str, Within] = {}


class Curve(_Part):
    """One group: noised numbers of each interval, and the share without the event at its end; None: hidden."""

    at_risk: _Numbers
    events: _Numbers
    survival: Annotated[tuple[Within | None, ...], _List]


class LogRank(_Part):
    """The test between all groups that the noise does not hide. `noise`: what share of the variance it is."""

    statistic: float
    degrees: float
    p: float
    noise: float


class CurvesTable(_Part):
    """Kaplan-Meier curves by group, at the `ends` of the intervals."""

    ends: _Numbers
    groups: Mapping[str, Curve]
    log_rank: LogRank | None


class Tables(_Part):
    """What a plan published that trains nothing. `deviation`: of the noise on each count."""

    deviation: float
    columns: Mapping[str, ColumnTable] | None = None
    curves: CurvesTable | None = None
