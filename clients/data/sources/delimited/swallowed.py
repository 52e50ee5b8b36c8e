"""Finds a quoted cell that swallowed rows: a stray quote in one row and another further down are legal CSV.

A quoted cell may span lines; notes do. What gives a stray pair away is that the lines inside are rows of the table.
If commas part the cells and the quotes stand in column k (from 0) of n, the cell's first line ends a row and has
n - 1 - k commas, its last line begins one and has k, and every line between is a whole row and has n - 1. A note
that looks like that by chance is refused, too: a person can change it, and nobody would see the rows that are gone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


def opened_at(row: Sequence[str], start: int, width: int, separator: str = ",") -> int | None:
    """The line where a quote opens whose cell looks like rows of `width` cells, or None.

    `row` starts at line `start`. For the header, whose width is not certain, `width` is 0.

    >>> opened_at(["1", "first line, it goes on\\nsecond line", "yes"], 5, 3)
    >>> opened_at(["1", "open,no\\n2,shut", "yes"], 5, 3)
    5
    """
    line = start
    for place, cell in enumerate(row):
        inner = _LINE_BREAK.split(cell)
        if len(inner) > 1 and _looks_like_rows(inner, place, width, separator):
            return line
        line += len(inner) - 1
    return None


def _looks_like_rows(inner: Sequence[str], place: int, width: int, separator: str) -> bool:
    """Whether the lines of the cell at `place` may be rows of `width` cells."""
    if not width:
        return any(separator in text for text in inner)
    if any(width in (text.count(separator) + 1, _cells(text, separator)) for text in inner):
        return True
    return inner[0].count(separator) == width - 1 - place and inner[-1].count(separator) == place


def _cells(text: str, separator: str) -> int:
    """How many cells a line has if separators in quotes do not count."""
    return len(next(csv.reader([text], delimiter=separator), ()))
