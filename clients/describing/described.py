"""Describes the data of a site for the people who own them, and for nobody else.

The ranges of a plan were typed by people who have not seen the data, so somebody has to look whether they fit. But
the figures are exact, without any noise: none may reach a log, a report, JSON, an error's text or an exit code. So
no class here shows them in its repr, and only federation/cli prints them.

Columns are read one after the other: of a column no more is kept than its figures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from clients.data.cells import is_missing
from clients.data.encoding.dates import day_numbers
from clients.data.encoding.encoded import Encoded, encoded, of_numbers, of_texts
from clients.data.encoding.pictures import told_by_contents
from clients.data.notes import FileRead, Note
from clients.data.people import people
from clients.data.rows import Marks, marks_of_numbers, marks_of_rows, marks_of_texts
from clients.data.series.windows import counted, series_of, short_note
from clients.data.sources.numerals import Numerals, parsed
from clients.data.sources.table import Table
from clients.describing.doubts import (
    Doubt,
    Numbers,
    doubts_of_classes,
    doubts_of_days,
    doubts_of_numbers,
    doubts_of_values,
)
from clients.describing.shapes import Shape, shapes
from clients.rules.origin import Place
from federation.model.task import Dataset
from federation.plan.columns.features import Categorical, Date, Feature, Hashed, Numeric, Picture, Wide
from federation.plan.identifiers import cleaned, spellings
from federation.plan.numerals import as_text
from federation.plan.series.tasks import Series
from federation.plan.tabular import TabularTask
from federation.plan.tallies.tasks import Statistics
from federation.plan.tasks import Classification, Counting, Regression, TimeToEvent


@dataclass(frozen=True, repr=False)
class Column:
    """A column's figures. `public` is what the plan says of it; shares are of all records, None without a range."""

    name: str
    public: str
    below: float | None
    above: float | None
    distinct: int
    missing: int
    unread: int  # cells that are there, and that the plan cannot take
    filled: int = 0  # cells of which the plan says what it means that nothing is known
    other: int = 0  # texts that the plan does not list, and takes as others


@dataclass(frozen=True, repr=False)
class Description:
    """What a file holds; classes are of rows. `length` is about the median one of a record as the model's input."""

    file: FileRead
    patients: int | None
    columns: tuple[Column, ...]
    classes: tuple[tuple[str, int], ...]
    length: float
    doubts: tuple[Doubt, ...]
    marks: Marks
    inputs: int | None = None  # of a record, where only the plan's own code can read the columns
    shapes: tuple[Shape, ...] = ()  # of a plan that counts its columns
    rows: int | None = None  # where a record is a window of several

    @property
    def records(self) -> int:
        """How many records there are."""
        return self.file.records

    @property
    def clipped(self) -> dict[str, float]:
        """The share of records that are clipped, by column."""
        return {column.name: (column.below or 0.0) + (column.above or 0.0) for column in self.columns}


@dataclass(frozen=True, repr=False)
class _Seen:
    """One column, looked at: `squares` is what it adds to the squared length of each record."""

    column: Column
    doubts: tuple[Doubt, ...]
    marks: Marks
    squares: Numbers


def describe(table: Table, task: TabularTask) -> Description:
    """The figures of a table's columns, whether or not every cell can be trained on.

    DataError if a column of the plan is not there.
    """
    marks, squares = np.zeros(len(table), np.uint64), dict[str, Numbers]()
    columns, doubts = list[Column](), list[Doubt]()
    table.require(_names(task))
    for feature in task.features:
        seen = _look(table, feature)
        marks, squares[feature.name] = marks + seen.marks, seen.squares
        columns.append(seen.column)
        doubts += seen.doubts
    patients, notes = _people(table, task)
    records = len(table)
    if isinstance(task, Series):
        records, patients, more = _in_windows(table, task)
        notes += more
    told, classes = _told(table, task)
    for seen in told:
        marks = marks + seen.marks
        if seen.column not in columns:  # the past of a target may be a feature, of the same range
            columns.append(seen.column)
            doubts += seen.doubts
    return Description(
        file=FileRead(table.path, records, table.line_count, table.blank, table.twins(_names(task)) + notes),
        patients=patients,
        columns=tuple(columns),
        classes=classes,
        length=_length(squares, task),
        doubts=tuple(doubts),
        marks=marks,
        shapes=shapes(table, task) if isinstance(task, Statistics) else (),
        rows=len(table) if isinstance(task, Series) else None,
    )


def _length(squares: Mapping[str, Numbers], task: TabularTask) -> float:
    """The median length of a record as the model sees it: a cross has the one's length times the other's."""
    crossed = (squares[first] * squares[second] for first, second in task.cross or ())
    row = 1.0 if task.rows == "unit" else float(np.median(sum([*squares.values(), *crossed])))
    return math.sqrt(task.steps * row)


def _in_windows(table: Table, task: Series) -> tuple[int, int, tuple[Note, ...]]:
    """How many windows there are, how many patients have one, and a note on series without."""
    names = people(table, task.patient).names
    series, _ = series_of(table, task, names)
    windows, sizes = counted(series, task)
    is_long = sizes >= task.least
    patients = {name for name, own in zip(names, series.tolist(), strict=True) if is_long[own]}
    return windows, len(patients), short_note(table, task, int((~is_long).sum()), len(sizes))


def describe_dataset(path: Place, data: Dataset) -> Description:
    """What can be said of data that only the user's own task can read."""
    flat = data.features.reshape(len(data), -1)
    same = int((flat == flat[:1]).all(dim=0).sum()) if len(data) > 1 else 0
    are_classes = data.labels.dtype == torch.int64 and data.labels.dim() == 1
    labels, counts = torch.unique(data.labels[: len(data) if are_classes else 0], return_counts=True)
    classes = tuple(
        (str(label), count) for label, count in zip(labels.tolist(), counts.tolist(), strict=True)
    )
    doubts = []
    if same:
        text = f"{same} of {flat.shape[1]} inputs are the same in every record: no model can learn from them"
        doubts.append(Doubt("constant", "", text))
    if len(classes) == 1 and len(data) > 1:
        doubts.append(Doubt("classes", "", "all records are of one class"))
    return Description(
        file=FileRead(path, len(data)),
        patients=None if data.patients is None else len(torch.unique(data.patients)),
        columns=(),
        classes=classes,
        length=float(flat.to(torch.float64).norm(dim=1).median()) if len(data) else 0.0,
        doubts=tuple(doubts),
        marks=marks_of_rows(flat.numpy()) + marks_of_rows(data.labels.reshape(len(data), -1).numpy() + 0.5),
        inputs=flat.shape[1],
    )


def _told(table: Table, task: TabularTask) -> tuple[list[_Seen], tuple[tuple[str, int], ...]]:
    """The columns that say what is predicted, each looked at as a feature of its values or range; and classes."""
    if isinstance(task, Statistics):
        return [], ()
    if isinstance(task, Classification):
        seen, counts = _named(table, task.target, task.values[0])
        classes = tuple(_joined(task, [count for _, count in counts]).items())
        doubts = tuple(doubts_of_classes(task.target, classes))
        return [replace(one, doubts=doubts) for one in seen], classes
    if isinstance(task, TimeToEvent):
        seen, classes = _named(table, task.event, task.events)
        times = _look(table, Numeric(name=task.target, low=0.0, high=task.bins[-1]))
        # A time beyond the last bin is as good as any: it says that there was no event until then.
        kept = tuple(doubt for doubt in times.doubts if doubt.kind != "clipped")
        return [replace(times, doubts=kept), *seen], classes
    if isinstance(task, Regression):
        return [_look(table, Numeric(name=task.target, **task.target_range.model_dump()))], ()
    most = float(task.most) if isinstance(task, Counting) else 1.0
    return [_look(table, Numeric(name=task.target, low=0.0, high=most))], ()


def _named(
    table: Table, name: str, values: tuple[str, ...]
) -> tuple[list[_Seen], tuple[tuple[str, int], ...]]:
    """A column of classes, and how many rows each has."""
    cells = table.column(name)
    seen = _texts(cells, Categorical(name=name, values=values))
    classes = tuple(zip(values, _counts(cells, values), strict=True))
    return [replace(seen, doubts=tuple(doubts_of_classes(name, classes)))], classes


def _joined(task: Classification, counts: Sequence[int]) -> dict[str, int]:
    """The counts of values as those of classes."""
    found = dict.fromkeys(task.classes, 0)
    for place, count in zip(task.values[1], counts, strict=True):
        found[task.classes[place]] += count
    return found


def _people(table: Table, task: TabularTask) -> tuple[int | None, tuple[Note, ...]]:
    if task.patient is None:
        return None, ()
    found = people(table, task.patient)
    return len(set(found.names)), found.notes


def _names(task: TabularTask) -> list[str]:
    return list(task.columns)


def _look(table: Table, feature: Feature) -> _Seen:
    if isinstance(feature, Numeric):
        return _numbers(table.numerals(feature.name), feature)
    cells = table.column(feature.name)
    if isinstance(feature, Wide):
        return _wholes(cells, feature, encoded(table, feature))
    return _dates(cells, feature) if isinstance(feature, Date) else _texts(cells, feature)


def _numbers(cells: Numerals, feature: Numeric) -> _Seen:
    values, taken = parsed(cells), of_numbers(feature, cells)
    found, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    bounds = f"{as_text(feature.low)} to {as_text(feature.high)}"
    column = _column(feature, bounds, cells, values, (feature.low, feature.high), taken)
    doubts = tuple(doubts_of_numbers(feature, cells, values, found, counts))
    return _seen(column, doubts, marks_of_numbers(feature.name, values, cells), taken)


def _dates(cells: list[str], feature: Date) -> _Seen:
    days, taken = (
        day_numbers(feature.model_copy(update={"missing": None}), cells)[0],
        of_texts(feature, cells),
    )
    bounds, ends = f"{feature.since} to {feature.until}", (feature.range.low, feature.range.high)
    column = _column(feature, bounds, cells, days, ends, taken)
    doubts = tuple(doubts_of_days(feature.name, days, ends, bounds))
    return _seen(column, doubts, marks_of_texts(feature.name, cells), taken)


def _column(
    feature: Numeric | Date,
    bounds: str,
    cells: Sequence[str],
    values: Numbers,
    ends: tuple[float, float],
    taken: Encoded,
) -> Column:
    """The figures of a column of numbers or days, each a number or NaN."""
    known = values[~np.isnan(values)]
    missing = _missing([cells[row] for row in np.flatnonzero(np.isnan(values)).tolist()])
    below, above = float((known < ends[0]).sum()), float((known > ends[1]).sum())
    return Column(
        name=feature.name,
        public=bounds,
        below=below / len(cells),
        above=above / len(cells),
        distinct=len(np.unique(known)),
        missing=missing,
        unread=len(cells) - len(known) - missing,
        filled=int(taken.filled.sum()),
    )


def _texts(cells: list[str], feature: Categorical | Hashed) -> _Seen:
    listed = feature.values if isinstance(feature, Categorical) else ()
    taken = of_texts(feature, cells)
    counts, known = _counts(cells, listed), spellings(listed)
    texts = {cell: cleaned(cell) for cell in set(cells)}
    plain = {cell: listed[known[text]] if text in known else text for cell, text in texts.items()}
    silent = {cell for cell, text in texts.items() if text not in known and is_missing(text)}
    missing, other = sum(cell in silent for cell in cells), 0
    if isinstance(feature, Hashed):
        counts = list(Counter(plain[cell] for cell in cells if cell not in silent).values())
    elif taken.other is not None:
        other = int(taken.other.sum())
    column = Column(
        name=feature.name,
        public=f"{feature.hash} by hash" if isinstance(feature, Hashed) else f"{len(listed)} values",
        below=None,
        above=None,
        distinct=sum(count > 0 for count in counts),
        missing=missing,
        unread=len(cells) - sum(counts) - missing - other,
        filled=int(taken.filled.sum()),
        other=other,
    )
    marks = marks_of_texts(feature.name, [plain[cell] for cell in cells])
    return _seen(column, tuple(doubts_of_values(feature.name, counts, len(cells))), marks, taken)


def _wholes(cells: list[str], feature: Wide, taken: Encoded) -> _Seen:
    """The figures of a column of texts or the like: how many are different, and how many say nothing."""
    known = [cell for cell in cells if not is_missing(cleaned(cell))]
    column = Column(
        name=feature.name,
        public=feature.told,
        below=None,
        above=None,
        distinct=len(set(known)),
        missing=len(cells) - len(known),
        unread=0,
        filled=int(taken.filled.sum()),
    )
    return _seen(column, (), marks_of_texts(feature.name, _contents(cells, feature, taken)), taken)


def _contents(cells: list[str], feature: Wide, taken: Encoded) -> list[str]:
    """What makes a record the same as another: of an image what it shows, since sites number their files alike."""
    return told_by_contents(cells, taken.vectors) if isinstance(feature, Picture) else cells


def _seen(column: Column, doubts: tuple[Doubt, ...], marks: Marks, taken: Encoded) -> _Seen:
    """What was seen, and whether there is anything to see."""
    if 1 < column.missing == len(taken.filled):
        text = "no record says anything here: no model can learn from it"
        doubts = (*doubts, Doubt("constant", column.name, text))
    return _Seen(column, doubts, marks, taken.squares)


def _missing(cells: Sequence[str]) -> int:
    known = {cell: is_missing(cleaned(cell)) for cell in set(cells)}
    return sum(known[cell] for cell in cells)


def _counts(cells: Sequence[str], values: Sequence[str]) -> list[int]:
    """How often each of the plan's values occurs."""
    known, counts = spellings(values), [0] * len(values)
    for cell, count in Counter(cells).items():
        place = known.get(cleaned(cell))
        if place is not None:
            counts[place] += count
    return counts
