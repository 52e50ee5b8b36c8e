"""Collects rows of values into a table: from a workbook, a database, or batches of a columnar file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from clients.data.sources.packed import Column, HoldsNul, Numbers, Packer, in_blocks
from clients.data.sources.table import Table
from clients.data.sources.values import NoCell, written
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.plan.identifiers import cleaned

Row = Sequence[object]
Write = Callable[[object], str]


class Texts(list[str]):
    """Values that are cells already."""


def table_of_rows(
    place: Origin, names: Sequence[object], rows: Iterable[Row], *, first: int = 1, write: Write = written
) -> Table:
    """The table of these rows, the first of which its people know as row `first`.

    DataError names row and column of a value that no cell can hold. Of the rows no more is in memory than a block.
    """
    batches = (list(zip(*block, strict=True)) for block in in_blocks(rows))
    return table_of_batches(place, names, batches, first=first, write=write)


def table_of_batches(
    place: Origin,
    names: Sequence[object],
    batches: Iterable[Sequence[Sequence[object] | Numbers]],
    *,
    first: int = 1,
    write: Write = written,
    aside: dict[str, str] | None = None,
) -> Table:
    """The same of columns that arrive in parts; `Texts` and numbers are taken as they are.

    `aside` holds no cells.
    """
    header = _header(place, names)
    packer, line = Packer(header), first
    try:
        for batch in batches:
            columns = [
                _cells(place, name, column, line, write) for name, column in zip(header, batch, strict=True)
            ]
            packer.add(columns, range(line, line + len(columns[0])))
            line += len(columns[0])
        packed = packer.done()
    except HoldsNul as error:
        message = f'{place}: row {error.line}, column "{error.column}": holds a NUL character'
        raise DataError(
            message, hint="is it text at all? leave the column out, or correct the cell"
        ) from None
    if not packer.lines:
        hint = "it needs records: to train on, or to evaluate if it is a test file"
        raise DataError(f"{place}: has no rows", hint=hint)
    return Table(place, header, packed, packer.lines, blank=packer.blank, aside=aside or {})


def _header(place: Origin, names: Sequence[object]) -> tuple[str, ...]:
    if not names:
        raise DataError(f"{place}: has no columns", hint="it needs columns with names, and rows")
    return tuple(cleaned(written(name)) for name in names)


def _cells(place: Origin, name: str, column: Sequence[object] | Numbers, line: int, write: Write) -> Column:
    if isinstance(column, np.ndarray | Texts):
        return column
    cells: list[str] = []
    try:
        cells.extend(map(write, column))
    except NoCell as error:
        message = f'{place}: row {line + len(cells)}, column "{name}": holds {error.args[0]}, and is no cell'
        raise DataError(message, hint="leave the column out, or write it as text or numbers") from None
    return cells
