"""Columns of text, packed: a table of a million rows in about the memory of its file.

A Python string takes 50 bytes beside its characters. So cells of a column lie in blocks of a few thousand, each one
string with NULs between the cells, which no cell may hold; they are cut again when they are read.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

BLOCK = 8192  # rows
_BETWEEN = "\0"
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Cells:
    """The cells of a column, in `blocks` of BLOCK rows; the last may be shorter."""

    blocks: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, cells: Sequence[str]) -> Cells:
        """These cells, packed. ValueError if one holds a NUL."""
        return cls(tuple(pack(cells[start : start + BLOCK]) for start in range(0, len(cells), BLOCK)))

    def __iter__(self) -> Iterator[str]:
        for block in self.blocks:
            yield from unpack(block)

    def __len__(self) -> int:
        return sum(block.count(_BETWEEN) + 1 for block in self.blocks)

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


def unpack(block: str) -> list[str]:
    """The cells of a block."""
    return block.split(_BETWEEN)


class Packer:
    """Packs columns that arrive in parts. `lines` says which row of the source each row is."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._waiting: list[list[str]] = [[] for _ in names]
        self._blocks: list[list[str]] = [[] for _ in names]
        self.lines = array("q")
        self.blank = 0

    def add(self, columns: Sequence[list[str]], lines: Iterable[int]) -> None:
        """Take rows, by column. Rows in which no cell is filled in are counted and left out.

        HoldsNul names row and column.
        """
        kept = list(lines)
        columns, kept = self._filled(columns, kept)
        self.lines.extend(kept)
        for waiting, cells in zip(self._waiting, columns, strict=True):
            waiting.extend(cells)
        while len(self._waiting[0]) >= BLOCK:
            self._pack(BLOCK)

    def done(self) -> tuple[Cells, ...]:
        """All columns."""
        if self._waiting[0]:
            self._pack(BLOCK)
        return tuple(Cells(tuple(blocks)) for blocks in self._blocks)

    def _pack(self, rows: int) -> None:
        first = BLOCK * len(self._blocks[0])
        for place, (waiting, blocks) in enumerate(zip(self._waiting, self._blocks, strict=True)):
            try:
                blocks.append(pack(waiting[:rows]))
            except ValueError as error:
                raise HoldsNul(self.lines[first + error.args[0]], self._names[place]) from None
            del waiting[:rows]

    def _filled(
        self, columns: Sequence[list[str]], lines: list[int]
    ) -> tuple[Sequence[list[str]], list[int]]:
        empty = [row for row, cell in enumerate(columns[0]) if not cell or cell.isspace()]
        blank = {row for row in empty if not any(cells[row].strip() for cells in columns[1:])}
        if not blank:
            return columns, lines
        self.blank += len(blank)
        left = [row for row in range(len(lines)) if row not in blank]
        return [[cells[row] for row in left] for cells in columns], [lines[row] for row in left]


class HoldsNul(ValueError):
    """A cell holds a NUL: the row and the column."""

    def __init__(self, line: int, column: str) -> None:
        super().__init__(line, column)
        self.line, self.column = line, column
