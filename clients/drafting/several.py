"""Several tables of the same columns as one, for a plan that all of their owners could agree on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clients.data.sources.packed import Cells
from clients.data.sources.table import Table, refuse_problems
from federation.errors import DataError


def as_one(tables: Sequence[Table]) -> Table:
    """The rows of all, by the names of the columns. DataError for one that lacks a column of the first."""
    first, *others = tables
    for table in others:
        refuse_problems(table.path, table.lacking(first.header))
        if more := [name for name in table.header if name not in first.header]:
            hint = "give files of the same columns"
            raise DataError(f'{first.path}: has no column "{more[0]}", which {table.path} has', hint=hint)
    if not others:
        return first
    columns = tuple(
        Cells.of([cell for table in tables for cell in table.columns[table.header.index(name)]])
        for name in first.header
    )
    lines = [line for table in tables for line in table.lines]
    return Table(
        Path(f"{first.path} and {len(others)} more"), first.header, columns, lines, decimal=first.decimal
    )
