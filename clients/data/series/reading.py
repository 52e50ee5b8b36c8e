"""From the rows of a table, encoded each by itself, to the records of a series task: windows of rows, flat."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from clients.data.faults import Fault
from clients.data.notes import Note
from clients.data.series.times import times_of
from clients.data.series.windows import Places, in_order, series_of, short_note, windows
from clients.data.sources.table import Table
from federation.errors import DataError
from federation.model.task import Dataset
from federation.plan.series.tasks import Series


@dataclass(frozen=True, eq=False)
class Ordered:
    """The places of a table's rows by series and time, (n,), and the series of each row; or what is wrong."""

    order: Places = field(repr=False)
    series: Places = field(repr=False)
    faults: tuple[Fault, ...]


def ordered(table: Table, task: Series, patients: Sequence[str], there: Collection[str]) -> Ordered | None:
    """The rows in order; None where a column that says it is not there, which others tell."""
    if any(name not in there for name in (task.time, *filter(None, [task.series]))):
        return None
    series, unnamed = series_of(table, task, patients)
    times, untimed = times_of(table, task)
    if faults := (*unnamed, *untimed):
        return Ordered(series, series, faults)
    order, twins = in_order(series, times, task.time)
    return Ordered(order, series, twins)


def of_windows(rows: Dataset, table: Table, task: Series, kept: Ordered) -> tuple[Dataset, tuple[Note, ...]]:
    """The records: features (windows, window * width), the label of each window's own row, its patient. And notes.

    DataError where no series is long enough for one.
    """
    found = windows(kept.order, kept.series, task)
    if not len(found):
        hint = "bring longer series, or agree on a shorter window"
        raise DataError(
            f"{table.path}: no series has {task.least} rows, window and horizon together", hint=hint
        )
    places, targets = torch.from_numpy(found.rows), torch.from_numpy(found.targets)
    features = rows.features[places].reshape(len(found), -1)
    own = rows.at(targets)
    data = Dataset(features, own.labels, own.patients, own.ids).renumbered()
    return data, short_note(table, task, found.short, found.series)
