"""A published table as rows and bars for people; all numbers are those of report.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from federation.report.figures.tables import ColumnTable, CurvesTable, Tables
from federation.report.numbers import MISSING
from federation.report.parts import Ranged

_SHOWN = ("0.05", "0.25", "0.5", "0.75", "0.95")


def told(one: Ranged | None, digits: int = 4) -> str:
    """A figure and its interval.

    >>> told(Ranged(value=53.5032, low=50.6, high=56.38)), told(None)
    ('53.5 (50.6 to 56.38)', 'n/a')
    """
    if one is None or one.value is None or one.low is None or one.high is None:
        return MISSING
    value, low, high = (format(number, f".{digits}g") for number in (one.value, one.low, one.high))
    return f"{value} ({low} to {high})"


def whole(one: Ranged | None) -> str:
    """A count of people and its interval."""
    if one is None or one.value is None or one.low is None or one.high is None:
        return MISSING
    return f"{one.value:.0f} ({one.low:.0f} to {one.high:.0f})"


def rows(tables: Tables | None) -> list[tuple[str, list[str]]]:
    """A row for each column: about how many records, missing ones, mean, deviation and the middle quantiles."""
    if tables is None or tables.columns is None:
        return []
    return [
        (
            name,
            [
                whole(column.records),
                whole(column.missing),
                told(column.mean),
                told(column.deviation),
                *(told(column.quantiles.get(share)) for share in _SHOWN),
            ],
        )
        for name, column in tables.columns.items()
    ]


def headings() -> tuple[str, ...]:
    """Of the figures of a row."""
    return ("records", "missing", "mean", "deviation", *(f"{float(share):.0%} below" for share in _SHOWN))


def values(tables: Tables | None) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Of columns with values: each value and about how many records have it."""
    for name, column in (tables.columns or {}).items() if tables is not None else ():
        if column.edges is None:
            yield (
                name,
                [(label, _about(count)) for label, count in zip(column.labels, column.counts, strict=True)],
            )


def bars(column: ColumnTable) -> tuple[list[str], Sequence[float]]:
    """What stands below each bar, and its height."""
    if column.edges is None:
        return list(column.labels), column.counts
    names = [format(edge, ".4g") for edge in column.edges[:-1]]
    return [*names, *column.labels[len(names) :]], column.counts


def test_of(curves: CurvesTable) -> str:
    """What the log-rank test says, in a sentence."""
    found = curves.log_rank
    if found is None:
        return "No test of a difference: there is one group, or the noise hides the others."
    return (
        f"Log-rank test between the groups: chi-squared {found.statistic:.2f} on {found.degrees:.0f} degrees of "
        f"freedom, p = {found.p:.3g}. Noise makes {found.noise:.0%} of the variance, which is in the test."
    )


def points(curves: CurvesTable) -> list[tuple[str, list[str]]]:
    """A row for each interval: its end, then of each group the share without the event."""
    return [
        (format(end, "g"), [told(group.survival[place], 3) for group in curves.groups.values()])
        for place, end in enumerate(curves.ends)
    ]


def _about(count: float) -> str:
    return f"{max(0.0, count):.0f}"
