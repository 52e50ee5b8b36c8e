"""Rows of a table as bytes that depend neither on their place, nor on the order of columns, nor on how a number is
written. The registry of pools knows records by them, so the same row has the same bytes in every version.

A row is the list of its cells as Python writes lists of texts, by the names of their columns. A cell is as a reader
sees it, and a number as Python writes it. A million rows have thirty million cells: so a column is looked at a
block at a time. Numbers that are written so already are known by one look at the block, and a cell that is there
many times is written once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np

from clients.data.sources.packed import Block, Numbers, unpack
from clients.data.sources.table import Table
from federation.plan.identifiers import MAX_DIGITS, cleaned
from federation.plan.numerals import as_number

_Cell = TypeVar("_Cell")
_REMEMBERED = 1 << 14  # cells of a column of which it is known how they are written
_FEW = 64
# A number as Python writes it: with decimals, without an exponent or zeros at the end. Of up to 15 digits it is the
# shortest that reads as the same float; longer ones stay as they are in any case.
_ONE = r"(?!-0\.0(?:\0|\Z))-?(?:[1-9][0-9]*+|0(?!\.0000))\.(?:0|[0-9]*[1-9])"
_WRITTEN, _is_written = re.compile(rf"(?:(?:{_ONE})?\0)*+"), re.compile(rf"(?:{_ONE})?").fullmatch
_DIGITS = re.compile(r"[-+0-9.eE]*+")
_FEWEST, _MOST = (
    -(10 ** (MAX_DIGITS - 1)),
    10**MAX_DIGITS,
)  # whole numbers between them have 15 characters at most


def plain_rows(table: Table) -> tuple[bytes, Iterator[bytes]]:
    """What stands before each row, which names the columns, and the rows."""
    order = sorted(range(len(table.header)), key=table.header.__getitem__)
    names = repr([table.header[place] for place in order])
    return _bytes(names), _rows(table, order)


def _rows(table: Table, order: Sequence[int]) -> Iterator[bytes]:
    columns = [_Column() for _ in order]
    for blocks in table.packed(order):
        written = (column.written(block) for column, block in zip(columns, blocks, strict=True))
        for row in zip(*written, strict=True):
            yield _bytes(f"[{', '.join(row)}]")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@dataclass
class _Column:
    """Writes the cells of a column as `repr` writes texts, and remembers those that come again.

    Once most cells of a block differ (`is_varied`), to remember them would take longer than to write them.
    """

    known: dict[Any, str] = field(default_factory=dict)
    is_varied: bool = False

    def written(self, block: Block) -> list[str]:
        """Each cell of a block."""
        if isinstance(block, str):
            return self._each(unpack(block), partial(_of_texts, block))
        if block.dtype == np.float64:
            return self._each(_or_none(block), _of_floats)
        return self._each(block.tolist(), _of_whole)

    def _each(self, cells: list[_Cell], write: Callable[[list[_Cell]], list[str]]) -> list[str]:
        if self.is_varied:
            return write(cells)
        known, different = self.known, set(cells)
        if len(cells) > _FEW and 2 * len(different) > len(cells):
            self.is_varied = True
            return write(cells)
        if len(known) > _REMEMBERED:
            known.clear()
        new = list(different - known.keys())
        known.update(zip(new, write(new), strict=True))
        return [known[cell] for cell in cells]


def _or_none(numbers: Numbers) -> list[float | None]:
    """Numbers of a source that has them, where NaN is an empty cell. Zero has no sign."""
    found: list[float | None] = (numbers + 0.0).tolist()
    if np.isnan(numbers).any():
        return [
            None if gap else number for number, gap in zip(found, np.isnan(numbers).tolist(), strict=True)
        ]
    return found


def _of_floats(numbers: Sequence[float | None]) -> list[str]:
    return ["''" if number is None else f"'{number!r}'" for number in numbers]


def _of_whole(numbers: Sequence[int]) -> list[str]:
    """As `plain` would have their texts."""
    return [f"'{number}.0'" if _FEWEST < number < _MOST else f"'{number}'" for number in numbers]


def _of_texts(block: str, cells: Sequence[str]) -> list[str]:
    """Cells out of a block: at once where all of it is written so already, one by one where most are."""
    if len(cells) > _FEW and _WRITTEN.fullmatch(f"{block}\0"):
        return [f"'{cell}'" for cell in cells]
    looked = cells[:_FEW]
    if 2 * sum(map(bool, map(_is_written, looked))) > len(looked):
        return [f"'{cell}'" if _is_written(cell) else repr(plain(cell)) for cell in cells]
    return _of_other_texts(cells)


def _of_other_texts(cells: Sequence[str]) -> list[str]:
    """Numbers and gaps in a third of the time that any text takes."""
    if not _DIGITS.fullmatch("".join(cells)):
        return [repr(plain(cell)) for cell in cells]
    try:
        numbers = [float(cell or "nan") for cell in cells]
    except ValueError:
        return [repr(plain(cell)) for cell in cells]
    return [
        f"'{number + 0.0!r}'" if len(cell) <= MAX_DIGITS and math.isfinite(number) else f"'{cell}'"
        for cell, number in zip(cells, numbers, strict=True)
    ]


def plain(cell: str) -> str:
    """A cell as a reader sees it, and a number as Python writes it: 250.0 and 250.00 are one here.

    Two rows that are equal but for such codes get one fingerprint, which can refuse too much and never too little.

    >>> [plain(cell) for cell in (" 250.00", "1e3", "a ", "", "1234567890123456")]
    ['250.0', '1000.0', 'a', '', '1234567890123456']
    """
    cell = cleaned(cell)
    number = as_number(cell) if len(cell) <= MAX_DIGITS else None
    return cell if number is None else repr(number + 0.0)
