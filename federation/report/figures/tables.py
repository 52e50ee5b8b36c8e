"""A published table as report.json tells it: `federation.sums.tables` makes it of plan, params and receipts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from federation.report.parts import AnyList, Part, Ranged

_Numbers = Annotated[tuple[float, ...], AnyList]


class ColumnTable(Part):
    """One column: `counts` with their noise, of each of `labels`; bins have `edges`, in the column's own unit.

    Of dates, edges, mean and quantiles are days as `date.toordinal` counts them.
    """

    labels: Annotated[tuple[str, ...], AnyList]
    counts: _Numbers
    records: Ranged
    missing: Ranged | None
    edges: _Numbers | None = None
    mean: Ranged | None = None
    deviation: Ranged | None = None
    quantiles: Mapping[str, Ranged] = {}


class Curve(Part):
    """One group: noised numbers of each interval, and the share without the event at its end; None: hidden."""

    at_risk: _Numbers
    events: _Numbers
    survival: Annotated[tuple[Ranged | None, ...], AnyList]


class LogRank(Part):
    """The test between all groups that the noise does not hide. `noise`: what share of the variance it is."""

    statistic: float
    degrees: float
    p: float
    noise: float


class CurvesTable(Part):
    """Kaplan-Meier curves by group, at the `ends` of the intervals."""

    ends: _Numbers
    groups: Mapping[str, Curve]
    log_rank: LogRank | None


class Tables(Part):
    """What a plan published that trains nothing. `deviation`: of the noise on each count."""

    deviation: float
    columns: Mapping[str, ColumnTable] | None = None
    curves: CurvesTable | None = None
