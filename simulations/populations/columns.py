"""What has to be known of a table before it can be dealt: a few columns as numbers, and nothing else of any row."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import is_missing
from clients.data.faults import collected, refuse
from clients.data.people import no_name
from clients.data.sources.numerals import parsed
from clients.data.sources.packed import in_blocks
from clients.data.sources.table import Table
from federation.errors import DataError, InputError
from federation.plan.identifiers import cleaned
from simulations.populations.drawing import Floats, Places
from simulations.populations.rules import MAX_SITES, Rule
from simulations.populations.tables import Source

FEW = 20  # values of a last column that is taken for the label without anybody saying so
_MOST_CLASSES = 1000
_EVERY_ROW = "every row needs a value there"


@dataclass(frozen=True)
class Classes:
    """A column of a few values: each row's place in `values`, which are in order of their text."""

    column: str
    values: tuple[str, ...] = field(repr=False)
    codes: NDArray[np.int32] = field(repr=False)


@dataclass(frozen=True)
class Columns:
    """Of each row: where it begins, its value of the column to go by, its class, its person, its feature.

    `owners` numbers people from 0. In `feature` NaN stands for what is missing.
    """

    header: tuple[str, ...]
    lines: Sequence[int] = field(repr=False)
    by: Classes | None
    label: Classes | None
    owners: Places | None = field(repr=False)
    feature: Floats | None = field(repr=False)

    def __len__(self) -> int:
        return len(self.lines)


class _Coded:
    """Values as they are read, block by block. What is one value in two spellings is one here, too."""

    def __init__(self, column: str, most: int) -> None:
        self.column, self.most = column, most
        self.faults: list[tuple[int, tuple[str, str]]] = []
        self._blocks: list[NDArray[np.int32]] = []
        self._places: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self._places)

    @property
    def is_over(self) -> bool:
        """Whether there are more values than can be told apart; no further one is taken then."""
        return self.count > self.most

    def take(self, cells: Sequence[str], first: int) -> None:
        """The next cells, of which the first is that of row `first`."""
        if self.is_over:
            return
        texts = {cell: cleaned(cell) for cell in set(cells)}
        if "" in texts.values():
            self.faults += [
                (row, ("is empty", _EVERY_ROW)) for row, cell in enumerate(cells, first) if not texts[cell]
            ]
        place = {cell: self._places.setdefault(text, len(self._places)) for cell, text in texts.items()}
        self._blocks.append(np.array([place[cell] for cell in cells], np.int32))

    def done(self) -> Classes:
        """All of them."""
        values = sorted(self._places)
        rank = np.empty(len(values), np.int32)
        rank[[self._places[value] for value in values]] = np.arange(len(values))
        return Classes(self.column, tuple(values), rank[np.concatenate(self._blocks)])


class _Numbers:
    """Numbers as they are read; what is marked as missing is NaN."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.faults: list[tuple[int, tuple[str, str]]] = []
        self._blocks: list[Floats] = []

    def take(self, cells: Sequence[str], first: int) -> None:
        """The next cells, of which the first is that of row `first`."""
        found = parsed(cells)
        for place in np.flatnonzero(np.isnan(found)).tolist():
            if not is_missing(cleaned(cells[place])):
                hint = "name a column of numbers"
                self.faults.append((first + place, ("is not a finite number", hint)))
        self._blocks.append(found)

    def done(self) -> Floats:
        """All of them."""
        return np.concatenate(self._blocks)


class _People:
    """Whose each row is, as a hash of 64 bits: a million names would take a hundred megabytes."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.faults: list[tuple[int, tuple[str, str]]] = []
        self._blocks: list[NDArray[np.uint64]] = []

    def take(self, cells: Sequence[str], first: int) -> None:
        """The next cells, of which the first is that of row `first`."""
        texts = {cell: cleaned(cell) for cell in set(cells)}
        said = {cell: why for cell, text in texts.items() if (why := no_name(text)) is not None}
        if said:
            self.faults += [(row, said[cell]) for row, cell in enumerate(cells, first) if cell in said]
        marks = {cell: hashlib.blake2b(text.encode(), digest_size=8).digest() for cell, text in texts.items()}
        joined = b"".join(marks[cell] for cell in cells)
        self._blocks.append(np.frombuffer(joined, ">u8").astype(np.uint64))

    def done(self) -> Places:
        """People are numbered in the order of their hashes, which is that of no column."""
        return np.unique(np.concatenate(self._blocks), return_inverse=True)[1].astype(np.int64)


def columns_of(source: Source, rule: Rule) -> Columns:
    """What a rule has to know of a table. DataError for what is no table, or cannot be dealt by the rule."""
    rows = source.rows()
    _, names, _ = next(rows)
    header = tuple(map(cleaned, names))
    empty = Table(source.place, header, (), (), separator=source.place.separator, aside=source.aside)
    wanted = [name for name in (rule.by, rule.label, rule.patient, rule.feature) if name is not None]
    empty.require(wanted)
    by = None if rule.by is None else _Coded(rule.by, MAX_SITES)
    label = _label(rule, header)
    people = None if rule.patient is None else _People(rule.patient)
    feature = None if rule.feature is None else _Numbers(rule.feature)
    takers = [taker for taker in (by, label, people, feature) if taker is not None]
    places = [header.index(cleaned(taker.column)) for taker in takers]
    lines = array("q")
    few = ((line, [cells[place] for place in places]) for line, cells, _ in rows)  # a row may be wide
    for block in in_blocks(few):
        for place, taker in enumerate(takers):
            taker.take([cells[place] for _, cells in block], len(lines))
        lines.extend(line for line, _ in block)
    is_said = rule.label is not None
    if label is not None and not is_said and (label.is_over or label.faults):
        takers.remove(label)
        label = None
    faults = [fault for taker in takers for fault in collected(taker.column, taker.faults)]
    refuse(replace(empty, lines=lines), faults)
    _require_few(source, by, label)
    if rule.skew == "dirichlet":
        _require_classes(source, label)
    return Columns(
        header=header,
        lines=lines,
        by=None if by is None else by.done(),
        label=None if label is None else label.done(),
        owners=None if people is None else people.done(),
        feature=None if feature is None else feature.done(),
    )


def _label(rule: Rule, header: Sequence[str]) -> _Coded | None:
    """The column of classes; the last one, while it has few values, if nobody says which it is."""
    if rule.label is not None:
        return _Coded(rule.label, _MOST_CLASSES)
    others = {cleaned(name) for name in (rule.by, rule.patient, rule.feature) if name is not None}
    last = header[-1]
    return None if last in others or header.count(last) > 1 else _Coded(last, FEW)


def _require_few(source: Source, by: _Coded | None, label: _Coded | None) -> None:
    if by is not None and by.is_over:
        message = f'{source.place}: column "{by.column}" has more than {MAX_SITES:,} values'
        raise DataError(message, hint="each becomes a site: name a column that says where a row is from")
    if label is not None and label.is_over:
        message = f'{source.place}: column "{label.column}" has more than {_MOST_CLASSES:,} values'
        raise DataError(message, hint="--label names the column of classes")


def _require_classes(source: Source, label: _Coded | None) -> None:
    hint = "--label names the column of classes"
    if label is None:
        raise InputError(
            f"--dirichlet goes with --label: the last column has more than {FEW} values", hint=hint
        )
    if label.count < 2:
        raise DataError(f'{source.place}: column "{label.column}" has one value, and no skew', hint=hint)
