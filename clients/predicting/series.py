"""Windows of a table as inputs of a model: one for each row that has enough rows of its series before it.

A line stands for a window and is told by the place of its last row. What is predicted is so many rows later as the
plan's horizon says, and need not be there. The rules for cells and order are those of training.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clients.data.encoding.encoded import encoded
from clients.data.faults import Fault, refuse
from clients.data.load import mapped
from clients.data.people import people
from clients.data.series.reading import ordered
from clients.data.series.windows import Windows, windows_to_score
from clients.data.sources.table import Table
from clients.predicting.chunks import Chunk
from federation.errors import DataError
from federation.plan.series.tasks import Series

_NUMBERS = 1 << 22  # of inputs in a chunk


def windows_of(table: Table, task: Series, copied: str | None = None) -> tuple[int, Iterator[Chunk]]:
    """How many windows there are, and the windows in the order of their last rows.

    DataError for cells that the plan does not take, and where no series is long enough for one.
    """
    keyed = [task.patient, task.time, *filter(None, [task.series, copied])]
    names = [*(feature.name for feature in task.features), *keyed]
    refuse(table, (), [*table.problems, *table.lacking(names)])
    rows, found = np.zeros((len(table), task.width), np.float32), list[Fault]()
    at = 0
    for feature in task.features:
        columns, width = encoded(table, feature), len(feature.parts)
        columns.write(rows[:, at : at + width])
        found, at = [*found, *columns.faults], at + width
    owners = people(table, task.patient)
    kept = ordered(table, task, owners.names, names)
    assert kept is not None  # noqa: S101  # all columns are there
    refuse(table, [*found, *owners.faults, *kept.faults])
    mapped(rows, task)
    windows = windows_to_score(kept.order, kept.series, task)
    if not len(windows):
        hint = f"each line needs {task.window} rows of one series"
        raise DataError(f"{table.path}: no series is long enough to be scored", hint=hint)
    return len(windows), _chunks(table, rows, windows, copied)


def _chunks(table: Table, rows: np.ndarray, windows: Windows, copied: str | None) -> Iterator[Chunk]:
    order = np.argsort(windows.targets, kind="stable")
    ids = None if copied is None else table.column(copied)
    many = max(1, _NUMBERS // (windows.rows.shape[1] * rows.shape[1]))
    for start in range(0, len(order), many):
        own = order[start : start + many]
        last = windows.targets[own].tolist()
        inputs = rows[windows.rows[own]].reshape(len(own), -1)
        yield Chunk([table.lines[row] for row in last], inputs, ids and [ids[row] for row in last])
