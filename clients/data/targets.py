"""The labels of a table: what a plan predicts, read from the columns that say it.

Every rule looks at one row alone and at public numbers of the plan: a number is clipped to its range, a time falls
into a bin, a count is cut at the cap. What fits no rule is a fault of its row and column, told without its value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import FILL, codes, numbers
from clients.data.faults import Fault, collected
from clients.data.sources.table import Table
from federation.plan.outcomes import Classes, Counts, Range, Survival, Tally
from federation.plan.tabular import TabularTask
from federation.plan.tasks import Classification, Counting, Regression, TimeToEvent

Labels = NDArray[Any]
Floats = NDArray[np.float64]
Read = tuple[Labels, tuple[Fault, ...]]

_BELOW = ("is below zero", "a time is counted from 0: correct the cell, or drop the row at the site")
_NO_COUNT = (
    "is no whole number from 0 on",
    "a count is 0, 1, 2 and so on: correct the cell, or drop the row at the site",
)
_NO_EXPOSURE = (
    "is not above zero",
    "nothing is counted over no exposure: correct the cell, or drop the row at the site",
)


def labels_of(table: Table, task: TabularTask, there: Collection[str]) -> Read:
    """The labels, as federation/plan/outcomes.py says, and what is wrong; they mean nothing if anything is.

    `there` are the columns that the table has; of the others nothing is read.
    """
    return _READERS[type(task.outcome)](table, task, there)


def in_bins(times: Floats, events: NDArray[np.int64], ends: tuple[float, ...]) -> NDArray[np.int64]:
    """Twice the bins that each person came through under observation, and 1 more for an event in the next bin.

    A bin holds its end: an event at 30 is in the bin that ends at 30, whoever was seen until 30 came through it.
    An event after the last end is none: the person came through all bins.

    >>> in_bins(np.array([0.0, 30, 30, 31, 100]), np.array([1, 1, 0, 0, 1]), (30.0, 60.0)).tolist()
    [1, 1, 2, 2, 4]
    """
    before, until = np.searchsorted(ends, times, "left"), np.searchsorted(ends, times, "right")
    is_event = (events == 1) & (before < len(ends))
    return np.where(is_event, 2 * before + 1, 2 * until).astype(np.int64)


def _classes(table: Table, task: TabularTask, there: Collection[str]) -> Read:
    assert isinstance(task, Classification)  # noqa: S101  # by its outcome
    cells = table.column(task.target) if task.target in there else []
    values, places = task.values
    found, faults, _ = codes(cells, task.target, values, cure=FILL)
    # What is no value of any class is at -1, and stays there.
    return np.append(np.array(places, np.int64), -1)[found], faults


def _range(table: Table, task: TabularTask, there: Collection[str]) -> Read:
    assert isinstance(task, Regression)  # noqa: S101
    found, faults = _numbers(table, task.target, there)
    return scaled(found, task.target_range.low, task.target_range.high).astype(np.float32), faults


def scaled(values: Floats, low: float, high: float) -> Floats:
    """From a public range to [-1, 1]. Halves first: the difference of two finite floats may be infinite."""
    clipped = np.clip(values, low, high)
    share = (clipped / 2 - low / 2) / (high / 2 - low / 2)
    return np.clip(2 * share - 1, -1.0, 1.0)


def _survival(table: Table, task: TabularTask, there: Collection[str]) -> Read:
    assert isinstance(task, TimeToEvent)  # noqa: S101
    times, faults = _numbers(table, task.target, there)
    cells = table.column(task.event) if task.event in there else []
    events, wrong, _ = codes(cells, task.event, task.events, cure=FILL)
    faults = (*faults, *_where(times < 0, task.target, _BELOW), *wrong)
    if len(times) != len(events) or faults:
        return np.zeros(0, np.int64), faults
    return in_bins(times, events, task.bins), faults


def _counts(table: Table, task: TabularTask, there: Collection[str]) -> Read:
    assert isinstance(task, Counting)  # noqa: S101
    found, faults = _numbers(table, task.target, there)
    is_none = (found < 0) | (found != np.trunc(found))
    faults = (*faults, *_where(is_none & ~np.isnan(found), task.target, _NO_COUNT))
    counts = np.clip(found, 0, task.most)
    if task.exposure is None:
        return np.nan_to_num(counts).astype(np.int64), faults
    over, wrong = _numbers(table, task.exposure, there)
    faults = (*faults, *wrong, *_where(over <= 0, task.exposure, _NO_EXPOSURE))
    if len(counts) != len(over) or faults:
        return np.zeros((0, 2), np.float32), faults
    return np.stack([counts, over], axis=1).astype(np.float32), faults


def _nothing(table: Table, task: TabularTask, there: Collection[str]) -> Read:
    """What came of each record, where times are counted; else zeros."""
    if isinstance(task, TimeToEvent):
        return _survival(table, task, there)
    return np.zeros(len(table), np.int64), ()


def _numbers(table: Table, column: str, there: Collection[str]) -> tuple[Floats, tuple[Fault, ...]]:
    return numbers(table.numerals(column) if column in there else [], column, table.decimal)[:2]


def _where(wrong: NDArray[np.bool_], column: str, said: tuple[str, str]) -> tuple[Fault, ...]:
    return collected(column, ((row, said) for row in np.flatnonzero(wrong).tolist()))


_READERS: Final[Mapping[type, Callable[[Table, TabularTask, Collection[str]], Read]]] = {
    Classes: _classes,
    Range: _range,
    Survival: _survival,
    Counts: _counts,
    Tally: _nothing,
}
