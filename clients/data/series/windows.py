"""Which rows of a table each window is of, and whose target it has.

Rows are put in order by their series and time, wherever they stand in the file. A window is a matter of one series
alone, so of one patient: rows of others neither move nor change it. With a patient all of the patient's windows
come and go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import FILL
from clients.data.faults import Fault, collected
from clients.data.notes import Note
from clients.data.people import no_name
from clients.data.series.times import Times
from clients.data.sources.table import Table
from federation.plan.identifiers import cleaned
from federation.plan.series.tasks import Series

Places = NDArray[np.int64]

_SAME = (
    "is the time of another row of the same series",
    "give each row of a series a time of its own, or name task.series if a patient has several",
)


@dataclass(frozen=True, eq=False)
class Windows:
    """`rows` (n, window): places in the table, first to last. `targets` (n,): the place of the row predicted.

    `short` of `series` series have too few rows for a window.
    """

    rows: Places = field(repr=False)
    targets: Places = field(repr=False)
    series: int
    short: int

    def __len__(self) -> int:
        return len(self.targets)


def series_of(table: Table, task: Series, patients: Sequence[str]) -> tuple[Places, tuple[Fault, ...]]:
    """The series of each row, (n,), numbered from 0 in order of appearance, and what is wrong with their names."""
    if task.series is None:
        names: list[tuple[str, str]] = [(patient, "") for patient in patients]
        faults: tuple[Fault, ...] = ()
    else:
        own = [cleaned(cell) for cell in table.column(task.series)]
        names = list(zip(patients, own, strict=True))
        wrong = {name: (said[0], FILL) for name in set(own) if (said := no_name(name)) is not None}
        faults = collected(task.series, ((row, wrong[name]) for row, name in enumerate(own) if name in wrong))
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names], np.int64), faults


def in_order(series: Places, times: Times, column: str) -> tuple[Places, tuple[Fault, ...]]:
    """The places of all rows by series and time, (n,), and a fault for each row at the time of another."""
    order = np.lexsort((times, series))
    same = (series[order][1:] == series[order][:-1]) & (times[order][1:] == times[order][:-1])
    later = np.sort(order[1:][same])
    return order, collected(column, ((row, _SAME) for row in later.tolist()))


def windows(order: Places, series: Places, task: Series) -> Windows:
    """All windows with a target, series by series: the first begins with a series, each next one `stride` later."""
    return _windows(order, series, task.window, task.stride, task.horizon)


def windows_to_score(order: Places, series: Places, task: Series) -> Windows:
    """All windows, one for each row with enough rows before it: what is predicted may not have come yet."""
    return _windows(order, series, task.window, 1, 0)


def counted(series: Places, task: Series) -> tuple[int, Places]:
    """How many windows with a target there will be, and how many rows each series has."""
    sizes = np.bincount(series)
    return int(_many(sizes, task.least, task.stride).sum()), sizes


def short_note(table: Table, task: Series, short: int, series: int) -> tuple[Note, ...]:
    """For the people at the site: series that are too short to be learned from."""
    if not short:
        return ()
    said = f"{short} of {series} series have fewer rows than window and horizon need, which is {task.least}"
    return (Note(table.path, said, "nothing is learned from them"),)


def _many(sizes: Places, least: int, stride: int) -> Places:
    found: Places = np.where(sizes >= least, (sizes - least) // stride + 1, 0)
    return found


def _windows(order: Places, series: Places, window: int, stride: int, horizon: int) -> Windows:
    sizes = np.bincount(series)
    many = _many(sizes, window + horizon, stride)
    first = np.repeat(np.cumsum(sizes) - sizes, many)
    number = np.arange(len(first)) - np.repeat(np.cumsum(many) - many, many)
    starts = first + number * stride
    rows = order[starts[:, None] + np.arange(window)]
    targets = order[starts + window - 1 + horizon]
    return Windows(rows, targets, len(sizes), int((many == 0).sum()))
