"""Rows of a table as inputs of a model, some blocks at a time: a million rows need the memory of some thousands.

The rules are those of training (clients/data/load.py). The target need not be there: nobody knows it yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from clients.data.encoding.encoded import encoded
from clients.data.faults import Fault, refuse
from clients.data.load import mapped
from clients.data.sources.packed import Cells
from clients.data.sources.table import Table
from federation.plan.tabular import TabularTask

BLOCKS = 2  # of packed cells at a time


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some rows: where each is in its source, its inputs (n, d), and cells to be copied, if one asked for them."""

    lines: Sequence[int]
    inputs: NDArray[np.float32] = field(repr=False)
    ids: Sequence[str] | None = field(default=None, repr=False)


def chunks(table: Table, task: TabularTask, copied: str | None = None) -> Iterator[Chunk]:
    """The rows in order. DataError, once all were looked at, names every column whose cells cannot be used."""
    names = [*(feature.name for feature in task.features), *([copied] if copied is not None else [])]
    refuse(table, (), [*table.problems, *table.lacking(names)])
    wrong, at = defaultdict[tuple[str, str, str], list[int]](list), 0
    for part in _parts(table):
        inputs = np.zeros((len(part), task.inputs), np.float32)
        place = 0
        for feature in task.features:
            columns, width = encoded(part, feature), len(feature.parts)
            columns.write(inputs[:, place : place + width])
            for fault in columns.faults:
                rows = wrong[fault.column, fault.message, fault.hint]
                rows += [at + row for row in fault.rows]
            place += width
        if not wrong:
            mapped(inputs, task)
            yield Chunk(part.lines, inputs, None if copied is None else part.column(copied))
        at += len(part)
    refuse(table, [Fault(*said, tuple(rows)) for said, rows in wrong.items()])


def _parts(table: Table) -> Iterator[Table]:
    """The table in parts of some blocks."""
    many, at = max((len(cells.blocks) for cells in table.columns), default=0), 0
    for start in range(0, many, BLOCKS):
        columns = tuple(Cells(cells.blocks[start : start + BLOCKS]) for cells in table.columns)
        size = len(columns[0])
        yield replace(table, columns=columns, lines=table.lines[at : at + size])
        at += size
