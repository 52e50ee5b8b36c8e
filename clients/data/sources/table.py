"""A table of text cells, wherever it comes from, each row with the place where its people find it.

No message quotes a cell; a message quotes the header only if it does not look like a row of data.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from clients.data.notes import Note
from clients.data.sources.numerals import Numerals
from clients.data.sources.packed import Block, Cells, unpack
from clients.rules.origin import Place
from federation.config.schema import nearest_of
from federation.errors import DataError
from federation.plan.identifiers import cleaned
from federation.plan.numerals import as_number
from federation.words import some

NAMELESS = (
    "the first row must be the columns' names: set data.columns in site.toml, or put a row of names on top"
)
_MAX_COMPARED = 1000  # names of a header among which a similar one is looked for
_SWAPPED = str.maketrans(".,", ",.")
_WITH_A_COMMA = re.compile(r"(?<![^\0])(\s*[-+]?[0-9]*),([0-9]+(?:[eE][-+]?[0-9]+)?\s*)(?![^\0])")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a table beside its cells, and what to do: rows that may be lost, absent columns."""

    message: str
    hint: str


def refuse_problems(path: Place, problems: Sequence[Problem]) -> None:
    """Return if there are none; a DataError tells all of them."""
    if problems:
        hints = list(dict.fromkeys(problem.hint for problem in problems))
        message = ", also ".join(problem.message for problem in problems)
        raise DataError(f"{path}: {message}", hint=", and ".join(hints[:2]))


@dataclass(frozen=True)
class Table:
    """A header and at least one row. `lines[i]` is where row i starts: a line, or the row of a sheet or an answer.

    `columns` are the cells under each name of the header. A file of text has `line_count` lines. `blank` rows hold
    nothing and are left out. Columns that hold no cells, but lists or bytes, are `aside`, each with what it holds.
    Where `decimal` is a comma, 1,5 is a number and 1.500 is none. A table with `problems` is there to tell what
    else is wrong with it, and for nothing else.
    """

    path: Place
    header: tuple[str, ...]
    columns: tuple[Cells, ...] = field(repr=False)
    lines: Sequence[int] = field(repr=False)
    line_count: int | None = None
    blank: int = 0
    decimal: str = "."
    separator: str = ","
    aside: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    def require(self, names: Iterable[str]) -> None:
        """Return if there is one column of each name; DataError names all that are not there."""
        refuse_problems(self.path, self.lacking(names))

    def lacking(self, names: Iterable[str]) -> list[Problem]:
        """What keeps these columns from being read."""
        wrong = [name for name in dict.fromkeys(names) if self.header.count(cleaned(name)) != 1]
        twice = [name for name in wrong if cleaned(name) in self.header]
        no_cells = [name for name in wrong if cleaned(name) in self.aside]
        absent = [name for name in wrong if name not in twice and name not in no_cells]
        found = []
        if absent:
            many = "columns" if len(absent) > 1 else "column"
            found.append(Problem(f"has no {many} {_quoted(absent)}", self._header_hint(absent)))
        if twice:
            found.append(Problem(f"has two columns {_quoted(twice)}", "rename or remove one"))
        if no_cells:
            message = f"column {_quoted(no_cells)} holds {self.aside[cleaned(no_cells[0])]}, and no cells"
            found.append(Problem(message, "write each as a column of numbers or text of its own"))
        return found

    def column(self, name: str) -> list[str]:
        """The cells of a column as texts, without blanks around them. Numbers have a point."""
        found = list[str]()
        for block in self._of(name).blocks:
            found.extend(map(str.strip, unpack(self._pointed(block))))
        return found

    def numerals(self, name: str) -> Numerals:
        """The cells of a column of numbers. Under a decimal comma, point and comma change places: 1.500 is none."""
        blocks = self._of(name).blocks
        if self.decimal == ",":
            blocks = tuple(block.translate(_SWAPPED) if isinstance(block, str) else block for block in blocks)
        return Numerals(blocks, len(self))

    def blocks(self, order: Sequence[int]) -> Iterator[list[list[str]]]:
        """A few thousand rows at a time: for each, the cells as texts of the columns at these places."""
        for blocks in self.packed(order):
            yield list(map(unpack, blocks))

    def packed(self, order: Sequence[int]) -> Iterator[list[Block]]:
        """The same, not cut into cells yet."""
        for blocks in zip(*(self.columns[place].blocks for place in order), strict=True):
            yield list(map(self._pointed, blocks))

    def rows(self, order: Sequence[int]) -> Iterator[tuple[str, ...]]:
        """Each row's cells as texts, by the places of their columns."""
        for columns in self.blocks(order):
            yield from zip(*columns, strict=True)

    def twins(self, columns: Iterable[str]) -> tuple[Note, ...]:
        """A note for each of these columns that has another beside it whose name differs in capitals alone."""
        names = Counter(name.casefold() for name in self.header)
        hint = "rename or remove the other"
        return tuple(
            Note(self.path, f'another column is called "{name}" in other capitals, and is not read', hint)
            for name in columns
            if names[cleaned(name).casefold()] > 1
        )

    def _of(self, name: str) -> Cells:
        self.require([name])
        return self.columns[self.header.index(cleaned(name))]

    def _pointed(self, block: Block) -> Block:
        return pointed(block) if self.decimal == "," and isinstance(block, str) else block

    def _header_hint(self, wrong: Sequence[str]) -> str:
        """Quotes only a header without numbers and gaps: any other may be a row of data."""
        header = self.header
        if len(header) == 1 and self.separator in header[0]:
            return "quotes make one cell of the whole row: take those away"
        if any(not cell or not cell.isprintable() or as_number(cell) is not None for cell in header):
            return NAMELESS
        odd = next((mark for mark in ";\t" if any(mark in cell for cell in header)), None)
        if odd is not None:
            named = '"tab"' if odd == "\t" else f'"{odd}"'
            return f"set data.separator = {named} in site.toml, or separate the cells by commas"
        return nearest_of(wrong, header[:_MAX_COMPARED])


def pointed(block: str) -> str:
    """Packed cells in which each that is a number with a comma is the number with a point.

    >>> pointed("1,5\\0a,b\\0-2,25")
    '1.5\\x00a,b\\x00-2.25'
    """
    return _WITH_A_COMMA.sub(r"\1.\2", block) if "," in block else block


def _quoted(names: Sequence[str]) -> str:
    return some([f'"{name}"' for name in names]) + (f" ({len(names)} in all)" if len(names) > 3 else "")
