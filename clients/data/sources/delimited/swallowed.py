"""Finds a quoted cell that swallowed rows: a stray quote in one row and another further down are legal CSV.

A quoted cell may span lines; notes do. What gives a stray pair away is that the lines inside are rows of the table.
If commas part the cells and the quotes stand in column k (from 0) of n, the cell's first line ends a row and has
n - 1 - k commas, its last line begins one and has k, and every line between is a whole row and has n - 1.

A note has commas, too, so where the whole table is known (`is_believed`), its columns are asked: of rows that were
swallowed, cells are numbers where the column has numbers, and one of its words where it has a few that come again
and again. One such line is enough, as another row may hold a slip. What no column can decide is refused: a person
can change such a note, and nobody would see the rows that are gone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_AGAIN: Final = 4  # times that each word of a column with few words is there, on average

Kind: TypeAlias = frozenset[str] | type[float] | None
"""What a column holds: these words, numbers, or anything."""


@dataclass(frozen=True)
class Opened:
    """A cell whose lines may be rows: where its quote opens, and what its lines put into which column and on."""

    line: int
    rows: tuple[tuple[int, tuple[str, ...]], ...] = field(default=(), repr=False)


def opened_at(row: Sequence[str], start: int, width: int, separator: str = ",") -> Opened | None:
    """The cell that looks like rows of `width` cells, or None.

    `row` starts at line `start`. For the header, whose width is not certain, `width` is 0.

    >>> opened_at(["1", "first line, it goes on\\nsecond line", "yes"], 5, 3)
    >>> opened_at(["1", "open,no\\n2,shut", "yes"], 5, 3).line
    5
    """
    line = start
    for place, cell in enumerate(row):
        inner = _LINE_BREAK.split(cell)
        if len(inner) > 1 and _looks_like_rows(inner, place, width, separator):
            return Opened(line, tuple(_as_rows(inner, place, width, separator)))
        line += len(inner) - 1
    return None


def _looks_like_rows(inner: Sequence[str], place: int, width: int, separator: str) -> bool:
    """Whether the lines of the cell at `place` may be rows of `width` cells."""
    if not width:
        return any(separator in text for text in inner)
    if any(width in (text.count(separator) + 1, len(_cells(text, separator))) for text in inner):
        return True
    return inner[0].count(separator) == width - 1 - place and inner[-1].count(separator) == place


def _as_rows(
    inner: Sequence[str], place: int, width: int, separator: str
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Beside the cell itself: what its first line, its last one and those that are whole rows would be."""
    first, last = inner[0].split(separator), inner[-1].split(separator)
    if len(first) == width - place:
        yield place + 1, tuple(first[1:])
    if len(last) == place + 1:
        yield 0, tuple(last[:-1])
    for text in inner:
        if width in (text.count(separator) + 1, len(cells := _cells(text, separator))):
            yield 0, tuple(cells if len(cells) == width else text.split(separator))


def _cells(text: str, separator: str) -> Sequence[str]:
    """The cells of a line if separators in quotes do not count."""
    return next(csv.reader([text], delimiter=separator), ())


def is_believed(found: Opened, kind: Callable[[int], Kind]) -> bool:
    """Whether some line of a cell holds what the columns do; also where no column could tell.

    >>> kinds = {0: float, 1: None, 2: frozenset({"yes", "no"})}
    >>> note = opened_at(["1", "well, he says\\n2, perhaps", "yes"], 5, 3)
    >>> is_believed(note, kinds.get)
    True
    >>> is_believed(opened_at(["1", "well, he says\\nperhaps, she says", "yes"], 5, 3), kinds.get)
    False
    """
    told = [[(known, cell) for at, cell in enumerate(cells, first) if (known := kind(at)) is not None]
            for first, cells in found.rows]  # fmt: skip
    return not any(told) or any(pairs and all(_fits(*pair) for pair in pairs) for pairs in told)


def _fits(kind: Kind, cell: str) -> bool:
    cell = cell.strip()
    return cell in kind if isinstance(kind, frozenset) else _is_number(cell)


def kind_of(cells: Iterable[str]) -> Kind:
    """What a column holds, by all its cells.

    >>> kind_of(["1", "2,5", ""]), kind_of(["fine", "well", "tired"]), sorted(kind_of(["no", "yes"] * 4))
    (<class 'float'>, None, ['no', 'yes'])
    """
    count, words = 0, set[str]()
    for cell in cells:
        count += 1
        words.add(cell.strip())
    if all(map(_is_number, words)):
        return float
    return frozenset(words) if len(words) * _AGAIN <= count else None


def _is_number(cell: str) -> bool:
    """A missing one, too."""
    try:
        float(cell.replace(",", ".") or "0")
    except ValueError:
        return False
    return True
