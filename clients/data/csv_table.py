"""CSV tables: cells of text, each with the line that it came from.

A row's number is the line where it starts, header included, as a text editor shows it. No message quotes the
file's content; a message quotes the header only if it does not look like a row of data.

No row gets lost without a word: every line belongs to the header, a record or a blank row, and these are counted.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from clients.data.formats import HEAD, SAVE, other_format
from clients.data.notes import Note, some
from clients.data.swallowed import opened_at
from federation.config.schema import nearest
from federation.errors import DataError
from federation.plan.identifiers import cleaned
from federation.plan.tabular import as_number

_MAX_COMPARED = 1000  # names of a header among which a similar one is looked for


@dataclass(frozen=True)
class CsvTable:
    """A header and at least one row, all of the same length. `lines[i]` is the line at which row i starts.

    `columns` are the cells under each name of the header. The file has `line_count` lines. `blank` of its rows,
    mostly empty lines, hold nothing and are left out.
    """

    path: Path
    header: tuple[str, ...]
    columns: tuple[list[str], ...] = field(repr=False)
    lines: list[int] = field(repr=False)
    line_count: int
    blank: int

    @classmethod
    def read(cls, path: Path) -> CsvTable:
        """The table in a file. DataError if it is no UTF-8 CSV with a header and rows, or if rows may be lost."""
        if path.suffix.lower() == ".parquet":
            raise DataError(f"{path}: Parquet cannot be read yet", hint="save it as CSV")
        if (other := format_of(path)) is not None:
            raise DataError(f"{path}: {other[0]}", hint=other[1])
        scan = _scanned(path)
        _refuse_swallowed(path, scan)
        table = _table(path, scan)
        _refuse_second_header(table)
        return table

    @classmethod
    def parsed(cls, path: Path) -> CsvTable:
        """The table in a file, of which no more is asked than that all rows are of the same length."""
        return _table(path, _scanned(path))

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> list[str]:
        """The cells of a column, without blanks around them."""
        wanted = cleaned(name)
        if wanted not in self.header:
            raise DataError(f'{self.path}: has no column "{name}"', hint=_header_hint(self.header, name))
        if self.header.count(wanted) > 1:
            raise DataError(f'{self.path}: has two columns "{name}"', hint="rename or remove one")
        place = self.header.index(wanted)
        return list(map(str.strip, self.columns[place]))

    def twins(self, columns: Iterable[str]) -> tuple[Note, ...]:
        """A note for each of these columns that has another beside it whose name differs in capitals alone."""
        names = Counter(name.casefold() for name in self.header)
        hint = "rename or remove the other"
        return tuple(
            Note(self.path, f'another column is called "{name}" in other capitals, and is not read', hint)
            for name in columns
            if names[cleaned(name).casefold()] > 1
        )


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A site's file. DataError if it is missing or cannot be read."""
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: cannot be read: there is no such file", hint="check the path") from None
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror})"
        raise DataError(message, hint="is it a file you may read?") from None


def format_of(path: Path) -> tuple[str, str] | None:
    """What a file is instead of CSV, and what to do; None if it may be CSV."""
    with _opened(path) as file:
        return other_format(file.read(HEAD))


def read_bytes(path: Path) -> bytes:
    """The content of a site's file. DataError if it is missing or cannot be read."""
    with _opened(path) as file:
        return file.read()


@dataclass
class _Scan:
    """What a file holds, row by row. Cells lie one behind the other: a list for each row takes twice the time."""

    header: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    line_count: int = 0
    blank: int = 0
    # The lines where a quote opens that may have swallowed rows, and rows of another length than the header.
    opened: list[int] = field(default_factory=list)
    ragged: list[tuple[int, list[str]]] = field(default_factory=list)

    def add(self, row: list[str], start: int, end: int) -> None:
        """Take the row that stands in the lines from `start` to `end`."""
        if not any(map(str.strip, row)):
            self.blank += 1
            return
        if end > start and (line := opened_at(row, start, len(self.header))) is not None:
            self.opened.append(line)
        if not self.header:
            self.header = row
        elif len(row) != len(self.header):
            self.ragged.append((start, row))
        else:
            self.cells += row
            self.lines.append(start)


def _scanned(path: Path) -> _Scan:
    """All rows of a file. DataError if it is no UTF-8 CSV, or has no rows."""
    scan, start = _Scan(), 1
    with _opened(path) as file:
        reader = csv.reader(_text_lines(path, file), strict=True)
        try:
            for row in reader:
                scan.add(row, start, reader.line_num)
                start = reader.line_num + 1
        except csv.Error as error:
            raise _not_csv(path, start, reader.line_num, str(error)) from None
    scan.line_count = reader.line_num
    if not scan.header:
        raise DataError(f"{path}: is empty", hint="it needs a header and rows")
    if not scan.lines and not scan.ragged:
        hint = "it needs records: to train on, or to evaluate if it is a test file"
        raise DataError(f"{path}: has a header and no rows", hint=hint)
    return scan


def _table(path: Path, scan: _Scan) -> CsvTable:
    """The table of a scan. DataError if its rows are not all as long as its header."""
    _refuse_ragged(path, scan)
    width = len(scan.header)
    columns = tuple(scan.cells[place::width] for place in range(width))
    return CsvTable(path, tuple(map(cleaned, scan.header)), columns, scan.lines, scan.line_count, scan.blank)


def _text_lines(path: Path, file: Iterable[bytes]) -> Iterator[str]:
    """The lines of a file as text: one at a time, so that a large file is in memory once."""
    number = 0
    for line in file:
        try:
            text = line.decode("utf-8" if number else "utf-8-sig")
        except UnicodeDecodeError as error:
            row = number + 1 + line.count(b"\r", 0, error.start)
            hint = f"{SAVE} (it may be Windows-1252 or Latin-1 now)"
            raise DataError(f"{path}: row {row} is not UTF-8 text", hint=hint) from None
        if "\0" in text:
            raise DataError(f"{path}: is a binary file", hint=SAVE)
        for piece in io.StringIO(text, newline="") if "\r" in text[:-2] else (text,):
            number += 1
            yield piece


def _not_csv(path: Path, start: int, end: int, reason: str) -> DataError:
    """What csv.Error means for the row that starts at one line and was given up at another."""
    hint = "look there for a stray or missing quote"
    if "end of data" in reason:
        return DataError(f"{path}: row {start} is not CSV: a quote opens there and never closes", hint=hint)
    if "limit" in reason:
        limit = f"{csv.field_size_limit():,} characters"
        what = f"a quote does not close within {limit}" if end > start else f"it has a cell of over {limit}"
        return DataError(f"{path}: row {start} is not CSV: {what}", hint=hint)
    message = f"{path}: row {start} is not CSV: text follows a quote that closes"
    return DataError(message, hint=f'{hint}; inside quotes, write a quote twice ("")')


def _refuse_swallowed(path: Path, scan: _Scan) -> None:
    """A stray quote swallows the rows up to the next one, and the result is legal CSV."""
    if scan.opened:
        raise DataError(
            f"{path}: row {scan.opened[0]}: a quote opens a cell whose lines look like rows{_many(scan.opened)}",
            hint="close the quote where the cell ends, or take the line breaks out of that cell",
        )


def _refuse_ragged(path: Path, scan: _Scan) -> None:
    if not scan.ragged:
        return
    line, first = scan.ragged[0]
    cells = f"{len(first)} cell{'s' * (len(first) > 1)}"
    many = _many([line for line, _ in scan.ragged])
    message = f"row {line} has {cells}, the header has {len(scan.header)}{many}"
    raise DataError(f"{path}: {message}", hint=_ragged_hint(scan))


def _ragged_hint(scan: _Scan) -> str:
    width, (line, first), last = len(scan.header), scan.ragged[0], max(scan.lines, default=0)
    if width == 1 and len(scan.ragged) > 1:
        return "the first row must be the columns' names: remove a title above them"
    if all(len(row) == 1 and row[0].count(",") >= width - 1 for _, row in scan.ragged):
        return "quotes make one cell of the row: take those around the whole row away"
    if all(len(row) == width + 1 and not row[-1].strip() for _, row in scan.ragged):
        return "rows end with a comma that the header lacks: remove it, or add it there"
    if line > last and all(len(row) == 1 for _, row in scan.ragged):
        return "is it a note below the table? remove it; if the file is cut off there, export it again"
    if line > last and len(scan.ragged) == 1 and len(first) < width:
        return "is the file cut off there? export it again"
    return "look for a comma inside a cell without quotes, such as a decimal comma"


def _many(lines: Sequence[int]) -> str:
    return f" ({len(lines)} such rows: {some(lines)})" if len(lines) > 1 else ""


def _refuse_second_header(table: CsvTable) -> None:
    first = table.header[0]
    for place, cell in enumerate(table.columns[0]):
        if (first in cell or not cell.isascii()) and all(
            cleaned(column[place]) == name for column, name in zip(table.columns, table.header, strict=True)
        ):
            message = f"{table.path}: row {table.lines[place]} is the header once more"
            raise DataError(message, hint="remove that row: two files were put one after the other")


def _header_hint(header: Sequence[str], name: str) -> str:
    """Quotes only a header without numbers and gaps: any other may be a row of data."""
    if len(header) == 1 and "," in header[0]:
        return "quotes make one cell of the whole row: take those away"
    if any(not cell or not cell.isprintable() or as_number(cell) is not None for cell in header):
        return "the first row must be the columns' names"
    if any(";" in cell or "\t" in cell for cell in header):
        return "separate the cells by commas"
    return nearest(name, header[:_MAX_COMPARED])
