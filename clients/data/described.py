"""Describes the data of a site for the people who own them, and for nobody else.

The ranges of a plan were typed by people who have not seen the data, so somebody has to look whether they fit. But
the figures are exact, without any noise: none may reach a log, a report, JSON, an error's text or an exit code. So
no class here shows them in its repr, and only federation/cli/descriptions.py prints them.

Columns are read one after the other: of a column no more is kept than its figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from clients.data.cells import is_missing, parsed
from clients.data.doubts import (
    Doubt,
    Numbers,
    doubts_of_classes,
    doubts_of_numbers,
    doubts_of_values,
)
from clients.data.notes import FileRead, Note
from clients.data.people import people
from clients.data.rows import Marks, marks_of_numbers, marks_of_rows, marks_of_texts
from clients.data.sources.table import Table
from clients.rules.origin import Place
from federation.model.task import Dataset
from federation.plan.features import Categorical, Feature, Numeric
from federation.plan.identifiers import cleaned, spellings
from federation.plan.numerals import as_text
from federation.plan.tabular import TabularTask
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


@dataclass(frozen=True, repr=False)
class Description:
    """What a file holds. `length` is the median Euclidean length of a record as the model's input."""

    file: FileRead
    patients: int | None
    columns: tuple[Column, ...]
    classes: tuple[tuple[str, int], ...]
    length: float
    doubts: tuple[Doubt, ...]
    marks: Marks
    inputs: int | None = None  # of a record, where only the plan's own code can read the columns

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
    marks, squares = np.zeros(len(table), np.uint64), np.zeros(len(table))
    columns, doubts = list[Column](), list[Doubt]()
    table.require(_names(task))
    for feature in task.features:
        seen = _look(table, feature)
        marks, squares = marks + seen.marks, squares + seen.squares
        columns.append(seen.column)
        doubts += seen.doubts
    patients, notes = _people(table, task)
    told, classes = _told(table, task)
    for seen in told:
        marks = marks + seen.marks
        columns.append(seen.column)
        doubts += seen.doubts
    return Description(
        file=FileRead(
            table.path, len(table), table.line_count, table.blank, table.twins(_names(task)) + notes
        ),
        patients=patients,
        columns=tuple(columns),
        classes=classes,
        length=float(np.sqrt(np.median(squares))),
        doubts=tuple(doubts),
        marks=marks,
    )


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
    if isinstance(task, Classification):
        return _named(table, task.target, task.classes)
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
    seen = _values(cells, Categorical(name=name, values=values))
    classes = tuple(zip(values, _counts(cells, values), strict=True))
    return [replace(seen, doubts=tuple(doubts_of_classes(name, classes)))], classes


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
    return _values(table.column(feature.name), feature)


def _numbers(cells: list[str], feature: Numeric) -> _Seen:
    values = parsed(cells)
    known = values[~np.isnan(values)]
    found, counts = np.unique(known, return_counts=True)
    missing = _missing(cells) if len(known) < len(cells) else 0
    column = Column(
        feature.name,
        f"{as_text(feature.low)} to {as_text(feature.high)}",
        float((known < feature.low).sum()) / len(cells),
        float((known > feature.high).sum()) / len(cells),
        len(found),
        missing,
        len(cells) - len(known) - missing,
    )
    scaled = 2 * (np.clip(values, feature.low, feature.high) / 2 - feature.low / 2)
    scaled = np.nan_to_num(scaled / (feature.high / 2 - feature.low / 2) - 1)
    doubts = tuple(doubts_of_numbers(feature, cells, values, found, counts))
    return _Seen(column, doubts, marks_of_numbers(feature.name, values, cells), scaled**2)


def _values(cells: list[str], feature: Categorical) -> _Seen:
    counts, known = _counts(cells, feature.values), spellings(feature.values)
    missing = _missing(cells) if sum(counts) < len(cells) else 0
    column = Column(
        feature.name,
        f"{len(feature.values)} values",
        None,
        None,
        sum(count > 0 for count in counts),
        missing,
        len(cells) - sum(counts) - missing,
    )
    texts = {cell: cleaned(cell) for cell in set(cells)}
    plain = {cell: feature.values[known[text]] if text in known else text for cell, text in texts.items()}
    marks = marks_of_texts(feature.name, [plain[cell] for cell in cells])
    return _Seen(
        column, tuple(doubts_of_values(feature.name, counts, len(cells))), marks, np.ones(len(cells))
    )


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
