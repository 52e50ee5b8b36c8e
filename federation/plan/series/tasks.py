"""Tasks on time series: a table in long form, one row per step of time, of which windows are the records.

    patient    whose a row is: the person, account or machine that the plan protects as a whole
    series     tells the series of one patient apart, such as stays; without it a patient has one
    time       orders the rows of a series: a number, or where `time_format` says so a date
    window     so many rows of a series, one after the other, are what the model sees
    stride     so many rows after the start of a window the next one starts
    horizon    so many rows after the last of a window is the row whose target is predicted; 0: that very row

Windows go by rows: of a gap in time the model knows what the columns say of it. Windows of one series share rows,
so all are one patient's records: unit "record" would promise what no row has, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from federation.config.schema import Mistake
from federation.config.tables import Rules
from federation.plan.columns.dates import checked_form
from federation.plan.identifiers import cleaned
from federation.plan.tabular import TabularTask
from federation.plan.tasks import Classification, Regression

MOST_STEPS = 4096
"""The longest window, stride and horizon."""
MOST_INPUTS = 1 << 16
"""The most numbers of a window."""
NETWORKS = ("gru", "transformer")
_SHAPE = ("series", "time", "time_format", "window", "stride", "horizon")


class Series(TabularTask):
    """What both kinds of series share; the keys are those above."""

    patient: str = Field(min_length=1, examples=['"patient_id"'])
    series: str | None = Field(default=None, min_length=1, examples=['"stay_id"'])
    time: str = Field(min_length=1, examples=['"hour"'])
    time_format: str | None = Field(default=None, examples=['"%Y-%m-%d"'])
    window: int = Field(ge=2, le=MOST_STEPS, examples=["16"])
    stride: int = Field(ge=1, le=MOST_STEPS, examples=["4"])
    horizon: int = Field(ge=0, le=MOST_STEPS, examples=["1"])

    @field_validator("time_format")
    @classmethod
    def _readable(cls, form: str | None) -> str | None:
        return None if form is None else checked_form(form)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        places = {"patient": self.patient, "target": self.target, "time": self.time, "series": self.series}
        seen: dict[str, str] = {}
        for key, name in places.items():
            if name is None:
                continue
            if not name.isprintable():
                raise Mistake("names a column with a line break or the like", "rename it in the data", (key,))
            if (other := seen.setdefault(cleaned(name), key)) != key:
                raise Mistake(f"names the column of {other}, too", "name a column for each", (key,))
        if self.series is not None and cleaned(self.series) in {cleaned(one.name) for one in self.features}:
            reason = "says which series a row is of, which a model must not see"
            raise Mistake(reason, "remove it", ("features", self.series))
        if self.inputs > MOST_INPUTS:
            reason = f"makes {self.inputs} inputs of a record, and {MOST_INPUTS} are the most"
            raise Mistake(reason, "shorten it, or take fewer columns", ("window",))
        return self

    @property
    def sees_target(self) -> bool:
        """Of rows before the one that is predicted: the past of what is predicted is a feature like others."""
        return self.horizon > 0

    @property
    def steps(self) -> int:
        """A window."""
        return self.window

    @property
    def least(self) -> int:
        """Rows of a series from which on it has a window with a target."""
        return self.window + self.horizon

    @property
    def columns(self) -> tuple[str, ...]:
        """The features, what is predicted, and what orders the rows."""
        keyed = (self.time, *(() if self.series is None else (self.series,)))
        named = {cleaned(name): name for name in (*super().columns, *keyed)}
        return tuple(named.values())


class SeriesClassification(Series, Classification):
    """`kind = "series-classification"`: one of a few classes, of a row at or after the end of a window."""

    models: ClassVar[tuple[str, ...]] = (*NETWORKS, "logistic")
    shape: ClassVar[tuple[str, ...]] = (*Classification.shape, *_SHAPE)
    shown: ClassVar[Mapping[str, str]] = TabularTask.shown


class SeriesRegression(Series, Regression):
    """`kind = "series-regression"`: a number on a public range, of a row at or after the end of a window."""

    models: ClassVar[tuple[str, ...]] = (*NETWORKS, "linear")
    shape: ClassVar[tuple[str, ...]] = (*Regression.shape, *_SHAPE)
    shown: ClassVar[Mapping[str, str]] = TabularTask.shown


def check_whole(rules: Rules) -> None:
    """A Mistake for a plan that protects a record: a row is in several windows, and all tell of one person."""
    task = rules.task
    if isinstance(task, Series) and rules.privacy.unit == "record" and rules.privacy.noise != "none":
        reason = (
            "would protect one window of a series, and other windows of the same person hold the same rows"
        )
        hint = 'set it to "patient": all of a person\'s series together'
        raise Mistake(reason, hint, ("privacy", "unit"), unsafe=True)
