"""Dates of a column as days, months and weekdays. Days count as `date.toordinal` has it; NaN is no day."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import no_date, says_nothing
from clients.data.distinct import Distinct
from clients.data.faults import Fault
from federation.plan.columns.dates import Date
from federation.plan.columns.scales import Numbers

_UNIX = datetime.date(1970, 1, 1).toordinal()


def day_numbers(feature: Date, cells: Sequence[str]) -> tuple[Numbers, tuple[Fault, ...], NDArray[np.bool_]]:
    """The day of every cell, (n,), what is wrong, and where the plan says what nothing means."""
    found = Distinct.of(cells)
    each = [feature.form.read(cell) for cell in found.cells]
    days = np.array([np.nan if day is None else day.toordinal() for day in each], np.float64)[found.rows]
    wrong, filled = np.isnan(days), np.zeros(len(days), np.bool_)
    if feature.missing is not None and wrong.any():
        filled = wrong & found.where(says_nothing)
    if (filler := feature.filler) is not None:
        days[filled] = filler.toordinal()
    faults = found.faults(feature.name, lambda cell: no_date(cell, feature.date), wrong & ~filled)
    return days, faults, filled


def months_of(days: Numbers) -> NDArray[np.int64]:
    """The month of each day, from 0; -1 for no day."""
    known = ~np.isnan(days)
    dates = (np.where(known, days, _UNIX).astype(np.int64) - _UNIX).astype("datetime64[D]")
    return np.where(known, dates.astype("datetime64[M]").astype(np.int64) % 12, -1)


def weekdays_of(days: Numbers) -> NDArray[np.int64]:
    """The weekday of each day, from Monday as 0; -1 for no day."""
    known = ~np.isnan(days)
    return np.where(known, (np.where(known, days, 1).astype(np.int64) - 1) % 7, -1)
