"""Columns of cells, packed: a table of a million rows in about the memory of its file.

A Python string takes 50 bytes beside its characters. So cells of a column lie in blocks of a few thousand, each one
string with NULs between the cells, which no cell may hold; they are cut again when they are read. A block of a
source that has numbers (Parquet) stays an array of them, whose cells are what `written` makes of each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from clients.data.sources.values import written

BLOCK = 8192  # rows
_BETWEEN = "\0"
_Row = TypeVar("_Row")
Numbers: TypeAlias = NDArray[Any]
"""Doubles, of which NaN is an empty cell, or whole numbers (int64)."""
Block: TypeAlias = str | Numbers
Column: TypeAlias = list[str] | Numbers
"""Cells that are not packed yet."""


@dataclass(frozen=True)
class Cells:
    """The cells of a column, in `blocks` of BLOCK rows; the last may be shorter."""

    blocks: tuple[Block, ...] = field(repr=False)

    @classmethod
    def of(cls, cells: Sequence[str]) -> Cells:
        """These cells, packed. ValueError if one holds a NUL."""
        return cls(tuple(pack(cells[start : start + BLOCK]) for start in range(0, len(cells), BLOCK)))

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks:
            yield from unpack(block)

    def __len__(self) -> int:
        return sum(
            block.count(_BETWEEN) + 1 if isinstance(block, str) else len(block) for block in self.blocks
        )

    def at(self, row: int) -> str:
        """The cell of a row."""
        return unpack(self.blocks[row // BLOCK])[row % BLOCK]


def pack(cells: Sequence[str]) -> str:
    """Cells as one block. ValueError if one holds a NUL, which would make two of it."""
    block = _BETWEEN.join(cells)
    if block.count(_BETWEEN) != len(cells) - 1:
        raise ValueError(next(place for place, cell in enumerate(cells) if _BETWEEN in cell))
    return block


def in_blocks(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Rows, as many at a time as a block holds."""
    iterator = iter(rows)
    while block := list(islice(iterator, BLOCK)):
        yield block


def unpack(block: Block) -> list[str]:
    """The cells of a block."""
    return block.split(_BETWEEN) if isinstance(block, str) else _texts(block)


def _texts(numbers: Numbers) -> list[str]:
    """Numbers as cells. Each different one is written once: by its bits, since 0.0 and -0.0 are two texts."""
    found, rows = np.unique(numbers.view(np.int64), return_inverse=True)
    each = found.view(numbers.dtype).tolist()
    if 2 * len(each) > len(numbers):
        return list(map(written, numbers.tolist()))
    texts = list(map(written, each))
    return [texts[row] for row in rows.tolist()]


def _joined(first: Column, second: Column) -> Column:
    """Two parts of a column as one: numbers if both are of one kind of them, else texts."""
    if isinstance(first, list) and isinstance(second, list):
        first.extend(second)
        return first
    if not len(first):
        return second
    if not (isinstance(first, list) or isinstance(second, list)) and first.dtype == second.dtype:
        return np.concatenate((first, second))
    return [*_cells(first), *_cells(second)]


def _cells(column: Column) -> list[str]:
    return column if isinstance(column, list) else _texts(column)


class Packer:
    """Packs columns that arrive in parts. `lines` says which row of the source each row is."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._waiting: list[Column] = [[] for _ in names]
        self._blocks: list[list[Block]] = [[] for _ in names]
        self.lines = array("q")
        self.blank = 0

    def add(self, columns: Sequence[Column], lines: Iterable[int]) -> None:
        """Take rows, by column. Rows in which no cell is filled in are counted and left out.

        HoldsNul names row and column.
        """
        kept = list(lines)
        columns, kept = self._filled(columns, kept)
        self.lines.extend(kept)
        self._waiting = [
            _joined(waiting, cells) for waiting, cells in zip(self._waiting, columns, strict=True)
        ]
        while len(self._waiting[0]) >= BLOCK:
            self._pack(BLOCK)

    def done(self) -> tuple[Cells, ...]:
        """All columns."""
        if len(self._waiting[0]):
            self._pack(BLOCK)
        return tuple(Cells(tuple(blocks)) for blocks in self._blocks)

    def _pack(self, rows: int) -> None:
        first = BLOCK * len(self._blocks[0])
        for place, (waiting, blocks) in enumerate(zip(self._waiting, self._blocks, strict=True)):
            taken = waiting[:rows]
            try:
                blocks.append(pack(taken) if isinstance(taken, list) else taken.copy())
            except ValueError as error:
                raise HoldsNul(self.lines[first + error.args[0]], self._names[place]) from None
            self._waiting[place] = waiting[rows:]

    def _filled(self, columns: Sequence[Column], lines: list[int]) -> tuple[Sequence[Column], list[int]]:
        empty = _empty(columns[0])
        blank = {row for row in empty if all(_is_empty(cells[row]) for cells in columns[1:])}
        if not blank:
            return columns, lines
        self.blank += len(blank)
        left = [row for row in range(len(lines)) if row not in blank]
        kept: list[Column] = [
            [cells[row] for row in left] if isinstance(cells, list) else cells[left] for cells in columns
        ]
        return kept, [lines[row] for row in left]


def _empty(column: Column) -> list[int]:
    """The rows of a column in which nothing stands."""
    if isinstance(column, list):
        return [row for row, cell in enumerate(column) if not cell or cell.isspace()]
    found: list[int] = np.flatnonzero(np.isnan(column)).tolist()
    return found


def _is_empty(cell: Any) -> bool:
    return not cell.strip() if isinstance(cell, str) else bool(np.isnan(cell))


class HoldsNul(ValueError):
    """A cell holds a NUL: the row and the column."""

    def __init__(self, line: int, column: str) -> None:
        super().__init__(line, column)
        self.line, self.column = line, column
