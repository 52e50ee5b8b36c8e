"""Any table, row by row, as often as it is asked for: with the cells as they are, and as a line of a CSV file.

A text file is read from the disk each time, so one of any length takes no memory. What lies in a database, a
workbook or a columnar file is read once and kept, packed (clients/data/sources/packed.py).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from clients.data.sources.delimited.csv_table import passed_csv
from clients.data.sources.packed import pack, unpack
from clients.data.sources.reading import read
from clients.data.sources.table import NAMELESS, Table, pointed
from clients.rules.origin import Origin, Place
from federation.errors import DataError
from federation.plan.identifiers import cleaned, is_whole
from federation.plan.numerals import as_number

Row = tuple[int, Sequence[str], str]
"""Where a row begins, its cells, and the line of a CSV file that holds them, with its end."""


@dataclass(frozen=True)
class Source:
    """A table at a place. `table` is all of it, where it is no file of text."""

    place: Origin
    table: Table | None = field(default=None, repr=False)

    @classmethod
    def at(cls, place: Place) -> Source:
        """The table at a place; only what is no file of text is read now. DataError if it cannot be."""
        origin = Origin.of(place)
        return cls(origin) if origin.kind in ("csv", "own") else cls(origin, read(origin))

    def rows(self) -> Iterator[Row]:
        """The header first, then each row. DataError, at the end at the latest, for what is no table."""
        yield from self._of_table(self.table) if self.table is not None else self._of_text()

    @property
    def aside(self) -> Mapping[str, str]:
        """Columns that hold no cells, and what they hold: they cannot be dealt."""
        return {} if self.table is None else self.table.aside

    def state(self) -> tuple[int, int]:
        """Changes when the file does."""
        if self.table is not None or not self.place.file.exists():
            return 0, 0
        found = self.place.file.stat()
        return found.st_size, found.st_mtime_ns

    def _of_text(self) -> Iterator[Row]:
        is_plain = self.place.separator == "," and self.place.decimal == "." and not self.place.columns
        line, end = _Line(), ""
        for start, cells, text in passed_csv(self.place):
            if not end:
                _require_names(self.place, cells)
                end = "\r\n" if text.endswith("\r\n") else "\n"
            if is_plain:
                yield start, cells, text if text.endswith(("\n", "\r")) else text + end
                continue
            found = unpack(pointed(pack(cells))) if self.place.decimal == "," else cells
            yield start, found, line.of(found)

    def _of_table(self, table: Table) -> Iterator[Row]:
        line = _Line()
        yield 0, table.header, line.of(table.header)
        for start, cells in zip(table.lines, table.rows(range(len(table.header))), strict=True):
            yield start, cells, line.of(cells)


class _Line:
    """Writes rows as lines of CSV."""

    def __init__(self) -> None:
        self._writer = csv.writer(self, lineterminator="\n")
        self._text = ""

    def write(self, text: str) -> None:
        """What a csv.writer hands on."""
        self._text = text

    def of(self, cells: Sequence[str]) -> str:
        """A row as a line."""
        self._writer.writerow(cells)
        return self._text


def _require_names(place: Origin, header: Sequence[str]) -> None:
    """DataError for a first row that is plainly a record.

    Columns may be numbered, or named by years, from the left to the right: other numbers are a record's.
    """
    names = list(map(cleaned, header))
    numbers = [name for name in names if as_number(name) is not None]
    are_numbers = len(set(names)) == len(names) and all(map(is_whole, numbers))
    if numbers and not (are_numbers and sorted(numbers, key=int) == numbers):
        raise DataError(f"{place}: the first row looks like a record", hint=NAMELESS)
