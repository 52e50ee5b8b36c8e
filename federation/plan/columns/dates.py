"""Dates of a table: how they are written, and the feature that is made of them: days, month, weekday.

What tells the months and weekdays from each other is the calendar, and the first day is the plan's: nothing of it
comes from the records.
"""

from __future__ import annotations

import datetime
import re
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from federation.config.schema import Mistake, Table
from federation.plan.columns.numeric import MISSING, MOST_BINS, Numeric

_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
DAYS, MONTHS = "days", "month"
_ORDER = (DAYS, MONTHS, "weekday")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ISO = "%Y-%m-%d"
_DIRECTIVE = re.compile(r"%(.)")
_NAMED = {"Y": r"(?P<Y>\d{4})", "m": r"(?P<m>\d{1,2})", "d": r"(?P<d>\d{1,2})", "b": r"(?P<b>[A-Za-z]{3})",
          "B": r"(?P<B>[A-Za-z]{3,9})"}  # fmt: skip
_TIME = r"(?:[ T]\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?(?:Z|[+-]\d{2}:?(?:\d{2})?))?)?"
_FORMAT = 'write for example "%Y-%m-%d", or "%d.%m.%Y"; %b and %B are English months'


def checked_form(form: str) -> str:
    """A way to write dates, if it has each part of one; a Mistake otherwise."""
    named = _DIRECTIVE.findall(form)
    has_all = sorted(named) in (sorted(f"Yd{month}") for month in "mbB")
    if not has_all or "%" in _DIRECTIVE.sub("", form) or not form.isprintable():
        raise Mistake("must hold %Y, %m and %d once each, and no other directive", _FORMAT)
    return form


class Date(Table):
    """A feature that is a date, written as `date` says or as ISO 8601 has it; a time of day beside it is left out.

    `take` is what the model sees of it: the days since `since`, clipped at `until` and scaled to [-1, 1] like any
    number; the month and the weekday, one-hot. `missing = "indicator"` stands for the middle of the days, no month
    and no weekday, and a mark in a column of its own; a date stands for itself. `bins` are those of a number.
    """

    name: str
    date: str = Field(examples=['"%Y-%m-%d"'])
    since: str = Field(examples=['"2000-01-01"'])
    until: str = Field(examples=['"2030-12-31"'])
    take: tuple[Literal["days", "month", "weekday"], ...] = Field(
        default=("days",), strict=False, examples=['["days", "month", "weekday"]']
    )
    missing: str | None = Field(default=None, examples=['"indicator"'])
    bins: int | None = Field(default=None, ge=2, le=MOST_BINS, examples=["20"])

    @field_validator("since", "until", "missing", mode="before")
    @classmethod
    def _as_text(cls, day: Any) -> Any:
        """TOML has dates of its own, without quotes."""
        is_day = isinstance(day, datetime.date) and not isinstance(day, datetime.datetime)
        return day.isoformat() if is_day else None if day == "refuse" else day

    @field_validator("since", "until", "missing")
    @classmethod
    def _day(cls, day: str | None) -> str | None:
        if day is None or day == "indicator" or _iso(day) is not None:
            return day
        raise Mistake("is no date", 'write it like "2024-01-31"')

    @field_validator("date")
    @classmethod
    def _readable(cls, form: str) -> str:
        return checked_form(form)

    @field_validator("take")
    @classmethod
    def _once_in_order(cls, take: tuple[str, ...]) -> tuple[str, ...]:
        if not take or len(set(take)) < len(take):
            raise Mistake("must name each part once, and at least one", 'write for example: take = ["days"]')
        return tuple(sorted(take, key=_ORDER.index))

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if "indicator" in (self.since, self.until) or not self.first < self.last:
            hint = 'write the public range, such as since = "2000-01-01", until = "2030-12-31"'
            raise Mistake("since must be before until", hint)
        if self.filler is not None and not self.first <= self.filler <= self.last:
            raise Mistake("is not between since and until", "choose a date of the range", ("missing",))
        return self

    @property
    def first(self) -> datetime.date:
        """The first day of the range."""
        return datetime.date.fromisoformat(self.since)

    @property
    def last(self) -> datetime.date:
        """The last day of the range."""
        return datetime.date.fromisoformat(self.until)

    @property
    def parts(self) -> tuple[str, ...]:
        """What each of the input's columns is of the feature, as text."""
        found = [column for part in self.take for column in self.columns(part)]
        return (*found, MISSING) if self.missing == "indicator" else tuple(found)

    def columns(self, part: str) -> tuple[str, ...]:
        """Those that one of `take` becomes."""
        return self.range.parts if part == DAYS and self.bins is not None else _PARTS[part]

    @property
    def filler(self) -> datetime.date | None:
        """The day that a missing one is taken for, if it is taken for one."""
        return None if self.missing in (None, "indicator") else datetime.date.fromisoformat(self.missing)

    @property
    def range(self) -> Numeric:
        """The days as a number, as `date.toordinal` counts them."""
        low, high = self.first.toordinal(), self.last.toordinal()
        return Numeric(name=self.name, low=low, high=high, bins=self.bins)

    @cached_property
    def form(self) -> Form:
        """How a cell is read."""
        return Form(self.date)


_PARTS = {
    "days": ("(days)",),
    "month": tuple(f"(month = {month})" for month in range(1, 13)),
    "weekday": tuple(f"(weekday = {day})" for day in WEEKDAYS),
}


class Form:
    """A way to write dates.

    >>> Form("%d.%m.%Y").read("31.1.2024"), Form("%d%b%Y").read("31JAN2024"), Form("%d.%m.%Y").read("31.2.2024")
    (datetime.date(2024, 1, 31), datetime.date(2024, 1, 31), None)
    >>> Form("%d.%m.%Y").write(datetime.date(2024, 1, 31))
    '31.01.2024'
    """

    def __init__(self, form: str) -> None:
        self._form = form
        self._patterns = [_pattern(form)]
        # Databases, Parquet and workbooks hold dates and no texts: these come in ISO 8601. Year, day, month is
        # the one order in which that could be another day.
        if not re.match(r"%Y\W*%d", form):
            self._patterns.append(_pattern(ISO))

    def read(self, text: str) -> datetime.date | None:
        """The day that a text is, or None."""
        for pattern in self._patterns:
            if (found := pattern.fullmatch(text)) is not None:
                return _day_of(found.groupdict())
        return None

    def write(self, day: datetime.date) -> str:
        """The day as such a text."""
        name = _MONTHS[day.month - 1].capitalize()
        said = {"Y": f"{day.year:04}", "m": f"{day.month:02}", "d": f"{day.day:02}", "b": name[:3], "B": name}
        return _DIRECTIVE.sub(lambda found: said[found[1]], self._form)


def _pattern(form: str) -> re.Pattern[str]:
    """A month or day may have one digit, unless another directive touches it."""
    pieces = _DIRECTIVE.split(form)  # text, directive, text, ...
    found = [re.escape(pieces[0])]
    for place in range(1, len(pieces), 2):
        touches = (place > 1 and not pieces[place - 1]) or (place + 2 < len(pieces) and not pieces[place + 1])
        part = _NAMED[pieces[place]]
        found += [part.replace("{1,2}", "{2}") if touches else part, re.escape(pieces[place + 1])]
    return re.compile("".join(found) + _TIME, re.ASCII)


def _day_of(said: dict[str, str]) -> datetime.date | None:
    name = (said.get("b") or said.get("B") or "").lower()
    whole = [number for number, month in enumerate(_MONTHS, 1) if name in (month, month[:3])]
    month = whole[0] if whole else int(said.get("m") or 0)
    try:
        return datetime.date(int(said["Y"]), month, int(said["d"]))
    except ValueError:
        return None


def _iso(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else None
    except ValueError:
        return None
