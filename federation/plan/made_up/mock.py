"""Made-up records of a plan's table: drawn from its public ranges and values alone, they hold nothing of anybody.

No file is read here and no data can be handed in. Every value of a column is within the plan's range or list. So
that a pipeline has something to learn, the classes lean, column by column, towards one end of the range or one of
the values; which way is made up, too, the same at all sites, and says nothing about the world.

The draws come from a stream with a public seed: a plan's table, a site and a seed give the same records everywhere.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from federation.errors import TaskError
from federation.plan.columns.features import Categorical, Date, Encoder, Hashed, Numeric, Picture, Words
from federation.plan.columns.scales import unscaled
from federation.plan.made_up.mock_pictures import Drawing, drawn
from federation.plan.made_up.mock_targets import levels_of, targets
from federation.plan.numerals import as_text
from federation.plan.plan import Plan
from federation.plan.series.mock import lengths, rows_of_windows, times
from federation.plan.series.tasks import Series
from federation.plan.tabular import TabularTask
from privacy.canonical import canonical
from privacy.mechanism.noise import Stream

_LABEL = "federation/mock/1"
_LEAN = 0.9  # of all columns together; with it, half the records of a class can be told from those of another
_FINE = 1000  # steps on a range, or a few times more
_FINE_DIGITS = 3  # the same where the scale is a logarithm's
_WHOLE = 20  # from this width on, a range between whole numbers has whole numbers in it
_RARE = 0.1  # of the cells, for what is missing or not listed
_OTHERS = ("another", "one more")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
WORDS = (
    "pain",
    "fever",
    "cough",
    "stable",
    "home",
    "visit",
    "night",
    "dose",
    "rest",
    "well",
    "worse",
    "better",
)
_LONG = 6  # words of a made-up sentence
_ROWS_OF_ONE = 3  # of a patient, where the plan sets no bound

README = "MADE-UP.md"
"""The name of the file that lies beside made-up records and says so."""
README_TEXT = """\
# MADE UP

The tables in this folder hold nothing of anybody. `federation mock` drew every cell from the public ranges and
values of a plan, with a public seed. What can be learned from them was made up, too: it says nothing about the
world, and no figure of a model that was trained on them is a result.
"""

Places = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class MockTable:
    """Made-up records: the names of the columns, then for each column a cell per record.

    `pictures` are the images that cells name, by their file's name.
    """

    header: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    pictures: Mapping[str, Drawing] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.columns[0])

    def column(self, name: str) -> tuple[str, ...]:
        """The cells of a column."""
        return self.columns[self.header.index(name)]

    @property
    def csv(self) -> str:
        """As the text of a CSV file."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows([self.header, *zip(*self.columns, strict=True)])
        return text.getvalue()


def mock_table(plan: Plan, site: str, rows: int, seed: int = 0) -> MockTable:
    """So many made-up records for a site. TaskError if only code of the plan's own knows what a record is."""
    task = plan.task
    if not isinstance(task, TabularTask):
        hint = "write such files by hand: only that code knows what is in them"
        raise TaskError(f"{task}: the plan names code and no columns, so nothing can be made up", hint=hint)
    signal, draws = _stream(task, seed, ""), _stream(task, seed, site)
    if isinstance(task, Series):
        owners, steps = lengths(draws, rows, task)
    else:
        owners, steps = _owners(draws, rows, _most_rows(plan) if task.patient is not None else 1), None
    count = levels_of(task)
    labels = (_shuffled(draws, int(owners[-1]) + 1) % count)[owners]
    strength = _LEAN / math.sqrt(len(task.features))
    columns = {task.patient: _names(site, owners)} if task.patient is not None else {}
    pictures = dict[str, Drawing]()
    for feature in task.features:
        leans = _shuffled(signal, count)[labels]
        if isinstance(feature, Picture):
            cells, made = drawn(feature, site, leans, count, draws.words)
            columns[feature.name] = cells if feature.missing is None else _some(cells, ("",), draws, _RARE)
            pictures |= made
        else:
            columns[feature.name] = _cells(feature, draws, leans, count, strength)
    columns |= targets(task, labels, lambda size: _uniform(draws, size))
    if isinstance(task, Series) and steps is not None:
        columns |= times(task, owners, steps)
    return MockTable(tuple(columns), tuple(columns.values()), pictures)


def rows_for(task: TabularTask, records: int) -> int:
    """How many rows of made-up records hold so many records, or a few more."""
    return rows_of_windows(task, records) if isinstance(task, Series) else records


def _stream(task: TabularTask, seed: int, site: str) -> Stream:
    """Draws for a site, or without one those that all sites share. Model and privacy of a plan have no say."""
    table = task.model_dump(mode="json", include={"patient", *task.shape})
    table["features"] = [
        feature.model_dump(mode="json", exclude_none=True, exclude={"knots"}) for feature in task.features
    ]
    text = canonical({"use": _LABEL, "task": table, "seed": seed, "site": site})
    return Stream(hashlib.sha256(text.encode()).digest())


def _most_rows(plan: Plan) -> int:
    """Rows of one patient: as few as the plan allows where it protects single records."""
    is_bounded = plan.is_private and plan.privacy.unit == "record"
    return (plan.privacy.records_per_patient or 1) if is_bounded else _ROWS_OF_ONE


def _owners(stream: Stream, rows: int, most: int) -> Places:
    """The patient of each row, from 0: each has one row, or up to `most`."""
    sizes = 1 + (stream.words(rows) % np.uint64(most)).astype(np.int64)
    return np.repeat(np.arange(rows), sizes)[:rows]


def _names(site: str, owners: Places) -> tuple[str, ...]:
    width = len(str(int(owners[-1]) + 1))
    return tuple(f"{site}-patient-{owner + 1:0{width}}" for owner in owners.tolist())


def _cells(
    feature: Numeric | Categorical | Hashed | Date | Words | Encoder,
    stream: Stream,
    leans: Places,
    classes: int,
    strength: float,
) -> tuple[str, ...]:
    """A cell per record. `leans` ranks the record's class among all classes, as this column has it."""
    if isinstance(feature, Numeric):
        cells = _numbers(feature, stream, 2 * leans / (classes - 1) - 1, strength)
    elif isinstance(feature, Categorical):
        cells = _values(feature.values, stream, leans, strength)
        cells = _some(cells, _OTHERS, stream, _RARE) if feature.other else cells
    elif isinstance(feature, Hashed):
        cells = _values(_codes(feature), stream, leans, strength)
    elif isinstance(feature, Words | Encoder):
        cells = _texts(stream, leans, strength)
    else:
        days = _numbers(feature.range, stream, 2 * leans / (classes - 1) - 1, strength)
        cells = tuple(feature.form.write(date.fromordinal(int(float(day)))) for day in days)
    return cells if feature.missing is None else _some(cells, ("",), stream, _RARE)


def _some(cells: tuple[str, ...], others: tuple[str, ...], stream: Stream, share: float) -> tuple[str, ...]:
    """The cells, of which some are others instead: a plan that has a rule for these is tried with them."""
    is_other = (_uniform(stream, len(cells)) < share).tolist()
    return tuple(
        others[row % len(others)] if other else cell
        for row, (cell, other) in enumerate(zip(cells, is_other, strict=True))
    )


def _codes(feature: Hashed) -> tuple[str, ...]:
    """Made-up codes, more than there are columns, so that some fall together as real ones do."""
    return tuple(f"{_LETTERS[place % 26]}{place // 26:02}" for place in range(min(2 * feature.hash, 2600)))


def _texts(stream: Stream, leans: Places, strength: float) -> tuple[str, ...]:
    """Sentences of made-up words, some of which the record's class has more often."""
    words = [_values(WORDS, stream, leans + at, strength) for at in range(_LONG)]
    return tuple(" ".join(sentence) for sentence in zip(*words, strict=True))


def _numbers(feature: Numeric, stream: Stream, leans: Numbers, strength: float) -> tuple[str, ...]:
    """Numbers all over the range, more of them in the half that the record's class leans to."""
    place = 2 * _uniform(stream, len(leans)) - 1
    place = np.where(
        _uniform(stream, len(leans)) < strength * np.abs(leans), np.copysign(place, leans), place
    )
    found = unscaled(place, feature).tolist()
    if feature.scale is None:
        digits = _digits(feature)
        found = [round(value, digits) for value in found]
    else:  # small ones matter as much as large ones
        found = [float(f"{value:.{_FINE_DIGITS}g}") for value in found]
    return tuple(as_text(min(max(value, feature.low), feature.high)) for value in found)


def _values(values: tuple[str, ...], stream: Stream, leans: Places, strength: float) -> tuple[str, ...]:
    """All values, one of them more often than the others."""
    count = len(values)
    drawn = np.minimum((_uniform(stream, len(leans)) * count).astype(np.int64), count - 1)
    drawn = np.where(_uniform(stream, len(leans)) < strength, leans % count, drawn)
    return tuple(values[place] for place in drawn.tolist())


def _digits(feature: Numeric) -> int:
    """Decimals that make about `_FINE` steps of the range, and whole numbers of a wide whole one."""
    half = feature.high / 2 - feature.low / 2
    if feature.low.is_integer() and feature.high.is_integer() and half >= _WHOLE / 2:
        return min(0, _decimals(half))
    return _decimals(half)


def _decimals(half: float) -> int:
    return math.ceil(math.log10(_FINE) - math.log10(half)) if half else 0


def _uniform(stream: Stream, size: int) -> Numbers:
    return (stream.words(size) >> np.uint64(11)).astype(np.float64) / 2.0**53


def _shuffled(stream: Stream, size: int) -> Places:
    """A permutation of 0 .. size - 1."""
    return np.argsort(stream.words(size), kind="stable")
