"""The kinds of tasks on tables: `kind` in a plan's `[task]` says which keys go with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from federation.config.schema import Mistake, Table, Texts
from federation.plan.columns.features import told_apart
from federation.plan.grouped import Grouped, check_grouped, values_of
from federation.plan.outcomes import Classes, Counts, Range, Survival
from federation.plan.tabular import COUNTS, REGRESSION, SERIES_REGRESSION, SURVIVAL, TALLIES, TabularTask
from federation.plan.weights import Weights, check_weights, shares

MOST_BINS = 200
_MOST_COUNTED = 10**6


class Classification(TabularTask):
    """`kind = "tabular-classification"`: one of a few classes. `grouped`: the values of those that join several.

    `loss` is absent for cross-entropy, also where it is written out, so that a plan without it keeps its digest. Of
    two classes "bce" is the same loss: the binary cross-entropy of the second output less the first.
    """

    models: ClassVar[tuple[str, ...]] = ("logistic", "additive", "mlp", "cnn")
    shape: ClassVar[tuple[str, ...]] = ("target", "classes", "grouped")

    classes: Texts = Field(examples=['["0", "1"]'])
    grouped: Grouped | None = Field(default=None, examples=['{ ill = ["1", "2"] }'])
    class_weights: Weights | None = Field(default=None, examples=['{ "1" = 5.0 }'])
    loss: Literal["cross-entropy", "bce", "hinge"] | None = Field(default=None, examples=['"hinge"'])

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return told_apart(classes, least=2)

    @field_validator("loss")
    @classmethod
    def _absent_for_the_usual(
        cls, loss: Literal["cross-entropy", "bce", "hinge"] | None, info: ValidationInfo
    ) -> Literal["hinge"] | None:
        if loss == "bce" and len(info.data.get("classes", "01")) != 2:
            hint = 'remove it: cross-entropy is that of more classes; or write "hinge"'
            raise Mistake("is of two classes", hint)
        return "hinge" if loss == "hinge" else None

    @property
    def learns_chances(self) -> bool:
        """Whether the outputs are logits, so that scores are chances."""
        return self.loss is None

    @property
    def outcome(self) -> Classes:
        """The classes."""
        return Classes(len(self.classes))

    @property
    def values(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """What a cell of the target may be, and the position of the class that each value is of."""
        return values_of(self.grouped, self.classes)

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        check_grouped(self.grouped, self.classes)
        check_weights(self.class_weights, self.classes)
        return self

    @property
    def shares(self) -> tuple[float, ...]:
        """What the gradient of a record counts, by its class: the largest weight is 1. Empty without weights."""
        return shares(self.class_weights, self.classes)


class Span(Table):
    """A public range."""

    low: float = Field(examples=["0"])
    high: float = Field(examples=["100"])

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low / 2 < self.high / 2:
            raise Mistake("low must be below high", "write the public range, such as { low = 0, high = 100 }")
        return self


class Regression(TabularTask):
    """`kind = "tabular-regression"`: a number, scaled from a public range and clipped to it.

    `huber` is the error, in the target's unit, from which on the loss grows with the error, not with its square.
    """

    models: ClassVar[tuple[str, ...]] = ("linear", "additive", "mlp", "cnn")
    shape: ClassVar[tuple[str, ...]] = ("target", "target_range")

    target_range: Span = Field(examples=["{ low = 0, high = 100 }"])
    huber: float | None = Field(default=None, gt=0, examples=["10.0"])

    @property
    def outcome(self) -> Range:
        """The range."""
        return Range(self.target_range.low, self.target_range.high, self.huber)


class TimeToEvent(TabularTask):
    """`kind = "survival"`: the time until an event, or until nobody looked any more.

    `target` is how long a row was observed, `event` says how that ended: `events` has the value of one who was only
    seen until then, and that of an event. `bins` are the public ends of the intervals of time; what comes after the
    last one is not learned.
    """

    models: ClassVar[tuple[str, ...]] = ("logistic", "additive", "mlp", "cnn")
    shape: ClassVar[tuple[str, ...]] = ("target", "event", "events", "bins")
    shown: ClassVar[Mapping[str, str]] = {
        **TabularTask.shown,
        "event": "says what came of a row, which a model must not see",
    }

    event: str = Field(min_length=1, examples=['"died"'])
    events: Texts = Field(default=("0", "1"), examples=['["0", "1"]'])
    bins: tuple[float, ...] = Field(strict=False, examples=["[30, 90, 180, 365]"])

    @field_validator("events")
    @classmethod
    def _two(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        if len(events) != 2:
            raise Mistake("must be two values: no event, then an event", 'write for example: ["0", "1"]')
        return told_apart(events, least=2)

    @field_validator("bins", mode="before")
    @classmethod
    def _numbers(cls, bins: Any) -> Any:
        if isinstance(bins, list | tuple) and all(type(end) in (int, float) for end in bins):
            return tuple(map(float, bins))
        raise Mistake("must be a list of numbers in brackets", "write for example: [30, 90, 180, 365]")

    @field_validator("bins")
    @classmethod
    def _rising(cls, bins: tuple[float, ...]) -> tuple[float, ...]:
        ends = (0.0, *bins)
        rising = all(before < end for before, end in zip(ends, bins, strict=False))
        if not bins or not rising or not math.isfinite(ends[-1]):
            hint = "write the ends of the intervals, such as: [30, 90, 180, 365]"
            raise Mistake("must rise from above 0", hint)
        if len(bins) > MOST_BINS:
            raise Mistake(f"has more than {MOST_BINS} entries", "make wider intervals")
        return bins

    @property
    def outcome(self) -> Survival:
        """The bins."""
        return Survival(self.bins)


class Counting(TabularTask):
    """`kind = "tabular-counts"`: a count, clipped to `most`.

    `exposure` names a column with what a count is counted over, such as months: a model then learns the rate.
    """

    models: ClassVar[tuple[str, ...]] = ("linear", "additive", "mlp", "cnn")
    shape: ClassVar[tuple[str, ...]] = ("target", "most", "exposure")
    shown: ClassVar[Mapping[str, str]] = {
        **TabularTask.shown,
        "exposure": "is what counts are counted over, which is no feature beside that",
    }

    most: int = Field(ge=1, le=_MOST_COUNTED, examples=["20"])
    exposure: str | None = Field(default=None, min_length=1, examples=['"months"'])

    @property
    def outcome(self) -> Counts:
        """The cap."""
        return Counts(self.most, self.exposure is not None)


def usual_metrics(task: object) -> tuple[str, ...] | None:
    """The metrics of a `[task]` as a file has it, where those of classes mean nothing; None where they do."""
    usual: Mapping[str, tuple[str, ...]] = {
        REGRESSION: Range.usual,
        SERIES_REGRESSION: Range.usual,
        SURVIVAL: Survival.usual,
        COUNTS: Counts.usual,
        **dict.fromkeys(TALLIES, ()),
    }
    kind = task.get("kind") if isinstance(task, Mapping) else getattr(task, "kind", None)
    return usual.get(kind) if isinstance(kind, str) else None
