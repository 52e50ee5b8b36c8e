"""When each row of a series is: a number, or a date with or without a time of day, as one that can be ordered.

A time of day beside a date counts here, unlike in a feature: it orders the rows of a day. With an offset (Z,
+02:00) it is that moment everywhere. Without one it is the clock on the wall, which in one night of autumn shows an
hour twice: rows of one series at equal times are refused then, since nobody knows their order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import FILL, no_date, numbers
from clients.data.distinct import Distinct
from clients.data.faults import Fault, collected
from clients.data.sources.table import Table
from federation.plan.columns.dates import Form
from federation.plan.series.tasks import Series

Times = NDArray[np.float64] | NDArray[np.int64]
"""(n,), of which the order counts alone: numbers, or microseconds."""

_CLOCK = re.compile(
    r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?(?: ?(?:(Z)|([+-])(\d{2}):?(\d{2})?))?", re.ASCII
)
_SECOND = 1_000_000
_DAY = 24 * 60 * 60 * _SECOND
_NOT_A_CLOCK = ("has a time of day that no clock shows", "write it like 2024-01-31 14:05:00")
_DATED = (
    'if times are dates, agree on a plan with task.time_format, such as "%Y-%m-%d"; else write the number'
)
_MIXED = ("has an offset from UTC, and other rows have none", "write all times of a file in one way")


def times_of(table: Table, task: Series) -> tuple[Times, tuple[Fault, ...]]:
    """The time of each row, and what is wrong; they mean nothing if anything is."""
    if task.time_format is None:
        found, faults, _ = numbers(table.numerals(task.time), task.time, table.decimal)
        return found, tuple(Fault(one.column, one.message, _cure(one.message), one.rows) for one in faults)
    return _dated(table.column(task.time), task.time, task.time_format)


def _cure(message: str) -> str:
    return _DATED if "looks like a date" in message else FILL


def _dated(cells: Sequence[str], column: str, form: str) -> tuple[Times, tuple[Fault, ...]]:
    seen, reader = Distinct.of(cells), Form(form)
    days = [reader.read(cell) for cell in seen.cells]
    clocks = [_clock(cell) for cell in seen.cells]
    unread = np.array([day is None for day in days])[seen.rows]
    faults = seen.faults(column, lambda cell: (no_date(cell, form)[0], FILL), unread)
    odd = np.array([clock is None for clock in clocks])[seen.rows] & ~unread
    faults = (*faults, *_where(odd, column, _NOT_A_CLOCK))
    if faults:
        return np.zeros(len(cells), np.int64), faults
    has_offset = np.array([clock is not None and clock[1] for clock in clocks])[seen.rows]
    if has_offset.any() and not has_offset.all():
        return np.zeros(len(cells), np.int64), _where(has_offset, column, _MIXED)
    moments = [
        0 if day is None or clock is None else day.toordinal() * _DAY + clock[0]
        for day, clock in zip(days, clocks, strict=True)
    ]
    return np.array(moments, np.int64)[seen.rows], ()


def _clock(cell: str) -> tuple[int, bool] | None:
    """Microseconds since midnight of UTC, or of the wall, and whether an offset is told; None for no clock's."""
    found = _CLOCK.search(cell)
    if found is None:
        return 0, False
    hour, minute, second, fraction, utc, sign, off_hour, off_minute = found.groups()
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 59:
        return None
    seconds = (int(hour) * 60 + int(minute)) * 60 + int(second or 0)
    if sign is not None:
        seconds -= int(f"{sign}1") * (int(off_hour) * 60 + int(off_minute or 0)) * 60
    return seconds * _SECOND + int(f"{fraction or '0':<06.6}"), utc is not None or sign is not None


def _where(wrong: NDArray[np.bool_], column: str, said: tuple[str, str]) -> tuple[Fault, ...]:
    return collected(column, ((row, said) for row in np.flatnonzero(wrong).tolist()))
