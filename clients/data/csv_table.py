"""CSV tables: cells of text, each with the line that it came from.

A row's number is the line where it starts, header included, as a text editor shows it. No message quotes the
file's content; a message quotes the header only if it does not look like a row of data.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from federation.config.schema import nearest
from federation.errors import DataError
from federation.plan.tabular import as_number


@dataclass(frozen=True)
class CsvTable:
    """A header and at least one row, all of the same length. `lines[i]` is the line at which row i starts."""

    path: Path
    header: tuple[str, ...]
    rows: list[list[str]] = field(repr=False)
    lines: list[int] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> CsvTable:
        """The table in a file. DataError if it is no UTF-8 CSV with a header and rows."""
        rows, lines = _parsed(path, _text(path))
        if not rows:
            raise DataError(f"{path}: is empty", hint="it needs a header and rows")
        if len(rows) == 1:
            raise DataError(f"{path}: has a header and no rows", hint="a site needs records to train on")
        header = tuple(name.strip() for name in rows[0])
        for row, line in zip(rows, lines, strict=True):
            if len(row) != len(header):
                message = f"{path}: row {line} has {len(row)} cells, the header has {len(header)}"
                raise DataError(message, hint="look for a comma inside a cell without quotes")
        return cls(path, header, rows[1:], lines[1:])

    def column(self, name: str) -> list[str]:
        """The cells of a column, without blanks around them."""
        if name not in self.header:
            raise DataError(f'{self.path}: has no column "{name}"', hint=_header_hint(self.header, name))
        if self.header.count(name) > 1:
            raise DataError(f'{self.path}: has two columns "{name}"', hint="rename or remove one")
        place = self.header.index(name)
        return [row[place].strip() for row in self.rows]

    def error(self, row: int, column: str, message: str, hint: str) -> DataError:
        """A complaint about one cell."""
        return DataError(f'{self.path}: row {self.lines[row]}, column "{column}": {message}', hint=hint)


def read_bytes(path: Path) -> bytes:
    """The content of a site's file. DataError if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: cannot be read: there is no such file", hint="check the path") from None
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror})"
        raise DataError(message, hint="is it a file you may read?") from None


def _text(path: Path) -> str:
    if path.suffix == ".parquet":
        raise DataError(f"{path}: Parquet cannot be read yet", hint="save it as CSV")
    data = read_bytes(path)
    if b"\0" in data:
        raise DataError(f"{path}: is a binary file", hint="save it as CSV, UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}: row {row} is not UTF-8 text", hint="save it as CSV, UTF-8") from None


def _parsed(path: Path, text: str) -> tuple[list[list[str]], list[int]]:
    """All rows that are not blank lines, and the line at which each starts."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for row in reader:
            if any(row):
                rows.append(row)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error:
        hint = "look there for a stray or missing quote, or a huge cell"
        raise DataError(f"{path}: row {start} is not CSV", hint=hint) from None
    return rows, lines


def _header_hint(header: Sequence[str], name: str) -> str:
    """Quotes only a header without numbers and gaps: any other may be a row of data."""
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        return "separate the cells by commas"
    if any(not cell or not cell.isprintable() or as_number(cell) is not None for cell in header):
        return "the first row must be the columns' names"
    return nearest(name, header)
