"""Rows that are steps of time of the same people: what a plan of windows of them says, and where that is likely.

Whose a row is decides what is protected, and what is a step of time decides what a record is. So neither is set by
a guess: where rows look like series, a person is told so, and names both columns.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median_low
from typing import Final

import numpy as np

from clients.data.sources.numerals import parsed
from clients.data.sources.table import Table
from clients.drafting.columns import Judged, judged
from federation.config.toml import inline
from federation.errors import DataError
from federation.plan.columns.dates import Date
from federation.plan.columns.features import Numeric, Wide
from federation.plan.identifiers import cleaned

_FEWEST: Final = 4  # rows of a person, in the middle, from which on they may be a series
_TIMES: Final = re.compile(
    r"(.*[ _.-])?(time|times?tamp|date|datetime|day|hour|minute|second|week|month|quarter|year|cycle|step|tick"
    r"|visit|t)s?([ _.-]?(no|nr|number|index|id))?"
)
_WINDOW: Final = 16
_SHARED = 0.8  # of rows, different times, below which it says something that nobody has a time twice
_MOST_TRIED = 30


@dataclass(frozen=True)
class Course:
    """Columns that say whose a row is and when it was; `form` of dates; `rows` of a person, in the middle."""

    patient: str
    time: str
    form: str | None
    rows: int

    @property
    def keys(self) -> dict[str, object]:
        """What a plan of windows says of them."""
        window = max(2, min(_WINDOW, self.rows // 2))
        dated = {} if self.form is None else {"time_format": self.form}
        windows = {"window": window, "stride": max(1, window // 4), "horizon": 1}
        return {"patient": self.patient, "time": self.time, **dated, **windows}

    @property
    def lines(self) -> Iterator[str]:
        """The same, as lines of a plan."""
        said = {
            "patient": "whose a row is: all rows of one are protected together",
            "time": "orders the rows of one",
            "time_format": "GUESS",
            "window": f"DECIDE: so many rows are a record; in the middle one has {self.rows} rows",
            "stride": "so many rows later the next record begins",
            "horizon": "DECIDE: so many rows after a window is the row that is predicted; 0: its last",
        }
        return (f"{key} = {inline(value)}  # {said[key]}" for key, value in self.keys.items())


def course_of(table: Table, patient: str, time: str) -> Course:
    """The course of rows that a person named. DataError for two rows of one at a time, or for what is no time."""
    form = _form(time, table.column(time))
    if form is None and np.isnan(parsed(list(map(str.strip, table.numerals(time))))).any():
        hint = "name a column of numbers, or of dates that are written in one way"
        raise DataError(f'{table.path}: column "{time}" orders no rows', hint=hint)
    owners = _texts(table, patient)
    if len(set(zip(owners, _texts(table, time), strict=True))) < len(table):
        hint = f'name a column in which the rows of each "{patient}" differ'
        raise DataError(f'{table.path}: rows of one "{patient}" have the same "{time}"', hint=hint)
    return Course(cleaned(patient), cleaned(time), form, median_low(Counter(owners).values()))


def courses_in(table: Table, columns: Sequence[Judged]) -> Course | None:
    """Rows that look like series: whoever recurs does so at another time in each row, by a column of times.

    Columns that are called as people are come first, then others that are no numbers.
    """
    named = [one.name for one in columns if _is_time(one)]
    times = {name: _texts(table, name) for name in named if table.header.count(name) == 1}
    others = [
        one for one in columns if not one.names_people and not isinstance(one.feature, Numeric | Wide | Date)
    ]
    for whose in (*(one for one in columns if one.names_people), *others[:_MOST_TRIED]):
        if not times or table.header.count(whose.name) != 1:
            continue
        owners = _texts(table, whose.name)
        if not 2 <= len(set(owners)) <= len(table) / _FEWEST:
            continue
        for name, cells in times.items():
            is_shared = len(set(cells)) < _SHARED * len(cells)  # else no pair of the two could recur
            if name == whose.name or not (is_shared or whose.names_people):
                continue
            if len(set(zip(owners, cells, strict=True))) == len(cells):
                with suppress(DataError):  # texts that are no times
                    return course_of(table, whose.name, name)
    return None


def _is_time(column: Judged) -> bool:
    return bool(_TIMES.fullmatch(column.name.casefold())) or isinstance(column.feature, Date)


def _texts(table: Table, name: str) -> list[str]:
    cells = table.column(name)
    plain = {cell: cleaned(cell) for cell in set(cells)}
    return [plain[cell] for cell in cells]


def looks_like(course: Course) -> str:
    """What a person is told of them."""
    rows = f'each "{course.patient}" has rows in the order of "{course.time}"'
    words = shlex.join(["--patient", course.patient, "--time", course.time])
    return f"{rows}: to learn from windows of them, add {words} (docs/series.md)"


def _form(name: str, cells: Sequence[str]) -> str | None:
    feature = judged(name, cells).feature
    return feature.date if isinstance(feature, Date) else None
