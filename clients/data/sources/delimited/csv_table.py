"""CSV tables: cells of text, each with the line that it came from.

A row's number is the line where it starts, header included, as a text editor shows it. No message quotes the
file's content.

No row gets lost without a word: every line belongs to the header, a record or a blank row, and these are counted.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from clients.data.sources.delimited.swallowed import Kind, Opened, is_believed, kind_of, opened_at
from clients.data.sources.formats import SAVE
from clients.data.sources.opened import format_of, lines_of
from clients.data.sources.packed import BLOCK, Cells, Packer, unpack
from clients.data.sources.table import Problem, Table, refuse_problems
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.plan.identifiers import cleaned
from federation.words import many, some

_LOOKED_AT = 1000  # rows of another length than the header, by which to tell what may have happened
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blank"}


def read_csv(place: Origin) -> Table:
    """The table in a file, with all that is wrong with it as a table. DataError if it is none at all."""
    if (other := format_of(place)) is not None:
        raise DataError(f"{place}: {other[0]}", hint=other[1])
    scan, table = _packed(place)
    opened = _believed(scan.opened, table)
    problems = (*_undecoded(place, scan), *_swallowed(opened), *_ragged(scan), *_second_headers(table))
    if not len(table) or scan.undecoded:  # of cells that are no text, nothing more can be told
        refuse_problems(place, problems)
    return replace(table, problems=problems)


def parsed_csv(place: Origin) -> Table:
    """The table in a file, of which no more is asked than that all rows are of the same length."""
    scan, table = _packed(place)
    refuse_problems(place, [*_undecoded(place, scan), *_ragged(scan)])
    return table


def passed_csv(place: Origin) -> Iterator[tuple[int, list[str], str]]:
    """The same rows one by one, the header first: the line where each begins, its cells, its text as the file has
    it.

    Of a file of any length no more is in memory than a row. DataError as `read_csv` has it; what is wrong with the
    table is known, and raised, after its last row.
    """
    if (other := format_of(place)) is not None:
        raise DataError(f"{place}: {other[0]}", hint=other[1])
    scan, again, read = _Scan(place.separator, list(place.columns)), list[int](), list[str]()
    header: list[str] = []
    for start, end, row in _rows(place, scan, _noted(lines_of(place, scan.undecoded), read)):
        if not header:
            header = list(map(cleaned, row))
        elif _is_like(row[0], header[0]) and list(map(cleaned, row)) == header:
            again.append(start)
        yield start, row, "".join(read[start - end - 1 :])
        read.clear()
    refuse_problems(
        place, [*_undecoded(place, scan), *_swallowed(scan.opened), *_ragged(scan), *_headers(again)]
    )


@dataclass
class _Scan:
    """What a file holds, row by row; the rows themselves are somebody else's to keep."""

    separator: str
    header: list[str] = field(default_factory=list)
    line_count: int = 0
    blank: int = 0
    last: int = 0  # the line of the last row that is as long as the header; 0 if there is none
    # The lines where a quote opens that may have swallowed rows, and rows of another length than the header.
    opened: list[Opened] = field(default_factory=list)
    ragged: list[tuple[int, list[str]]] = field(default_factory=list)
    ragged_lines: list[int] = field(default_factory=list)
    undecoded: list[int] = field(default_factory=list)

    def takes(self, row: list[str], start: int, end: int) -> bool:
        """Look at the row that stands in the lines from `start` to `end`; whether it is header or record."""
        if not any(map(str.strip, row)):
            self.blank += 1
            return False
        if end > start and (found := opened_at(row, start, len(self.header), self.separator)) is not None:
            self.opened.append(found)
        if not self.header:
            self.header = row
        elif len(row) != len(self.header):
            self.ragged_lines.append(start)
            self.ragged += [(start, row)] * (len(self.ragged) < _LOOKED_AT)
            return False
        else:
            self.last = start
        return True


@dataclass
class _Packing:
    """Records, packed. Cells lie one behind the other until a block of rows is full."""

    header: Sequence[str]
    packer: Packer
    _cells: list[str] = field(default_factory=list)
    _lines: list[int] = field(default_factory=list)

    def add(self, row: list[str], line: int) -> None:
        """Take a record that begins in this line."""
        self._cells += row
        self._lines.append(line)
        if len(self._lines) == BLOCK:
            self.pack()

    def pack(self) -> Packer:
        """Pack what waits."""
        width = len(self.header)
        self.packer.add([self._cells[place::width] for place in range(width)], self._lines)
        self._cells, self._lines = [], []
        return self.packer


def _rows(place: Origin, scan: _Scan, lines: Iterable[str]) -> Iterator[tuple[int, int, list[str]]]:
    """The header, then each record, with the lines where it begins and ends. DataError if it is no CSV as
    declared, or has no rows; what else is wrong, the scan says afterwards.
    """
    even = map(_evenly, lines) if place.separator == " " else lines
    reader, start = csv.reader(even, delimiter=place.separator, strict=True), 1
    if scan.header:
        yield 0, 0, scan.header
    try:
        for row in reader:
            if scan.takes(row, start, reader.line_num):
                yield start, reader.line_num, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise _not_csv(place, start, reader.line_num, str(error)) from None
    scan.line_count = reader.line_num
    if not scan.header:
        raise DataError(f"{place}: is empty", hint="it needs a header and rows")
    if not scan.last and not scan.ragged:
        hint = "it needs records: to train on, or to evaluate if it is a test file"
        raise DataError(f"{place}: has a header and no rows", hint=hint)


def _evenly(line: str) -> str:
    """A line whose cells are parted by blanks, with one between two of them. One with quotes stays as it is."""
    return line if '"' in line else " ".join(line.split()) + "\n"


def _noted(lines: Iterable[str], read: list[str]) -> Iterator[str]:
    """The lines, each of which is put down when it is read."""
    for line in lines:
        read.append(line)
        yield line


def _packed(place: Origin) -> tuple[_Scan, Table]:
    """The table of a file: its rows that are as long as its header."""
    scan = _Scan(place.separator, list(place.columns))
    rows = _rows(place, scan, lines_of(place, scan.undecoded))
    *_, header = next(rows)  # or the DataError of an empty file
    packing = _Packing(header, Packer(header))
    for line, _, row in rows:
        packing.add(row, line)
    packer = packing.pack()
    table = Table(
        path=place,
        header=tuple(map(cleaned, scan.header)),
        columns=packer.done(),
        lines=packer.lines,
        line_count=scan.line_count,
        blank=scan.blank,
        decimal=place.decimal,
        separator=place.separator,
    )
    return scan, table


def _not_csv(place: Origin, start: int, end: int, reason: str) -> DataError:
    """What csv.Error means for the row that starts at one line and was given up at another."""
    hint = "look there for a stray or missing quote"
    if "end of data" in reason:
        return DataError(f"{place}: row {start} is not CSV: a quote opens there and never closes", hint=hint)
    if "limit" in reason:
        limit = f"{csv.field_size_limit():,} characters"
        what = f"a quote does not close within {limit}" if end > start else f"it has a cell of over {limit}"
        return DataError(f"{place}: row {start} is not CSV: {what}", hint=hint)
    message = f"{place}: row {start} is not CSV: text follows a quote that closes"
    return DataError(message, hint=f'{hint}; inside quotes, write a quote twice ("")')


def _undecoded(place: Origin, scan: _Scan) -> Iterator[Problem]:
    if not scan.undecoded:
        return
    name = "UTF-8" if place.encoding == "utf-8" else place.encoding
    hint = "set data.encoding in site.toml to what the file is, or save it as CSV, UTF-8"
    if place.encoding == "utf-8":
        hint = f'{SAVE}, or set data.encoding in site.toml (it may be "windows-1252" or "iso-8859-1" now)'
    yield Problem(f"row {scan.undecoded[0]} is not {name} text{_such(scan.undecoded)}", hint)


def _believed(opened: Sequence[Opened], table: Table) -> Sequence[Opened]:
    """Those cells whose lines are as the table's columns."""

    @cache
    def kind(place: int) -> Kind:
        return kind_of(table.columns[place])

    return [each for each in opened if is_believed(each, kind)]


def _swallowed(opened: Sequence[Opened]) -> Iterator[Problem]:
    """A stray quote swallows the rows up to the next one, and the result is legal CSV."""
    if lines := [each.line for each in opened]:
        yield Problem(
            f"row {lines[0]}: a quote opens a cell whose lines look like rows{_such(lines)}",
            "close the quote where the cell ends, or take the line breaks out of that cell",
        )


def _ragged(scan: _Scan) -> Iterator[Problem]:
    if scan.ragged:
        line, first = scan.ragged[0]
        said = f"row {line} has {many(len(first), 'cell')}, the header has {len(scan.header)}"
        yield Problem(said + _such(scan.ragged_lines), _ragged_hint(scan))


def _ragged_hint(scan: _Scan) -> str:
    width, (line, first), last = len(scan.header), scan.ragged[0], scan.last
    separator = _NAMES.get(scan.separator, "separator")
    if width == 1 and len(scan.ragged) > 1:
        return "the first row must be the columns' names: remove a title above them"
    if all(len(row) == 1 and row[0].count(scan.separator) >= width - 1 for _, row in scan.ragged):
        return "quotes make one cell of the row: take those around the whole row away"
    if all(len(row) == width + 1 and not row[-1].strip() for _, row in scan.ragged):
        return f"rows end with a {separator} that the header lacks: remove it, or add it there"
    if line > last and all(len(row) == 1 for _, row in scan.ragged):
        return "is it a note below the table? remove it; if the file is cut off there, export it again"
    if line > last and len(scan.ragged) == 1 and len(first) < width:
        return "is the file cut off there? export it again"
    such = ", such as a decimal comma" if scan.separator == "," else ""
    return f"look for a {separator} inside a cell without quotes{such}"


def _such(lines: Sequence[int]) -> str:
    return f" ({len(lines)} such rows: {some(lines)})" if len(lines) > 1 else ""


def _second_headers(table: Table) -> Iterator[Problem]:
    first = table.header[0]
    found = [
        table.lines[place]
        for place, cell in _alike(table.columns[0], first)
        if _is_like(cell, first)
        and all(
            cleaned(column.at(place)) == name
            for column, name in zip(table.columns, table.header, strict=True)
        )
    ]
    yield from _headers(found)


def _alike(column: Cells, name: str) -> Iterator[tuple[int, str]]:
    """The cells of the blocks that may hold this name, with their rows."""
    for number, block in enumerate(column.blocks):
        if isinstance(block, str) and _is_like(block, name):
            yield from enumerate(unpack(block), number * BLOCK)


def _is_like(cell: str, name: str) -> bool:
    """Whether a cell may be this name when it is cleaned, which takes longer to find out."""
    return name in cell or not cell.isascii()


def _headers(found: Sequence[int]) -> Iterator[Problem]:
    if found:
        hint = "remove that row: two files were put one after the other"
        yield Problem(f"row {found[0]} is the header once more{_such(found)}", hint)
