"""A column's cells as numbers, a block at a time: of a million cells a few thousand texts are there at once.

Numbers that a source holds as numbers stay so, and are written as cells only where somebody asks for the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import overload

import numpy as np
from numpy.typing import NDArray

from clients.data.sources.packed import BLOCK, Block, unpack
from clients.data.sources.values import written
from federation.plan.numerals import as_number

Values = NDArray[np.float64]


class Numerals(Sequence[str]):
    """The cells of a column, without blanks around them, and what they are as numbers.

    Texts are cut when they are asked for; of those one after the other, each block once.
    """

    def __init__(self, blocks: Sequence[Block], rows: int) -> None:
        self._blocks, self._rows = blocks, rows
        self._cut: tuple[int, list[str]] = -1, []

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(self._rows))]
        if not -self._rows <= row < self._rows:
            raise IndexError(row)
        number, place = divmod(row % self._rows, BLOCK)
        block = self._blocks[number]
        if not isinstance(block, str):
            return written(block[place].item())
        if self._cut[0] != number:
            self._cut = number, unpack(block)
        return self._cut[1][place].strip()

    def __iter__(self) -> Iterator[str]:
        return map(str.strip, chain.from_iterable(map(unpack, self._blocks)))

    def numbers(self) -> Values:
        """Each cell as a finite number, (n,); NaN where it is none."""
        found = np.empty(self._rows)
        for number, block in enumerate(self._blocks):
            found[number * BLOCK : (number + 1) * BLOCK] = _numbers(block)
        return found


def parsed(cells: Sequence[str]) -> Values:
    """Each cell as a finite number, (n,); NaN where it is none, as `as_number` says.

    >>> parsed(["1.5", "nan", "1_000", "", "?"])
    array([1.5, nan, nan, nan, nan])
    """
    if isinstance(cells, Numerals):
        return cells.numbers()
    return _of_texts(cells, may_part=any("_" in cell for cell in cells))


def _numbers(block: Block) -> Values:
    if isinstance(block, str):
        return _of_texts(unpack(block), may_part="_" in block)
    values = block.astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    return values


def _of_texts(cells: Sequence[str], *, may_part: bool) -> Values:
    """`may_part`: a cell may have a _ between its digits, which Python reads and a table does not mean."""
    for read in (float, _or_gap, _or_nan):  # each slower, by four times in all, and of more cells
        try:
            values = np.fromiter(map(read, cells), np.float64, len(cells))
        except ValueError:
            continue
        break
    values[~np.isfinite(values)] = np.nan
    if may_part:
        values[["_" in cell for cell in cells]] = np.nan
    return values


def _or_gap(cell: str) -> float:
    return float(cell or "nan")


def _or_nan(cell: str) -> float:
    found = as_number(cell)
    return np.nan if found is None else found
