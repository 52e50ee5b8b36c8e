"""What a plan predicts, as public numbers: classes, a number on a range, the time until an event, or a count.

Whatever treats them differently (the loss, the reading of cells, the metrics) has one function for each and chooses
by the type. `blocks` is what a published evaluation adds up, by groups. Nothing here looks at data: scales, bins
and caps are the plan's, so they leak nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from federation.config.tables import METRICS, Evaluation
from federation.kinds.blocks import Group
from federation.kinds.cells import Cells, cells_of_classes
from federation.kinds.moments import TIME_BINS, Numbers, Times
from federation.plan.measures import shares_of
from federation.plan.numerals import as_text


@dataclass(frozen=True)
class Classes:
    """One of `count` classes; labels are 0 to count - 1."""

    count: int
    usual: ClassVar[tuple[str, ...]] = METRICS

    @property
    def outputs(self) -> int:
        """Width of a model's output: a logit for each class."""
        return self.count

    def blocks(self, asked: Evaluation, groups: tuple[Group, ...]) -> Cells | None:
        """A histogram of scores, where the plan asks for one."""
        return cells_of_classes(asked, groups, shares_of(asked.metrics))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that there are."""
        return METRICS


@dataclass(frozen=True)
class Range:
    """A number on a public range. A label is on [-1, 1], clipped to it, as features are.

    `huber`: from which error on, in the number's own unit, the loss grows with the error and not with its square.
    """

    low: float
    high: float
    huber: float | None = None
    usual: ClassVar[tuple[str, ...]] = ("mae", "rmse", "r2", "bias", "calibration_by_tenth")

    @property
    def outputs(self) -> int:
        """One: the number, scaled as the labels are."""
        return 1

    def blocks(self, asked: Evaluation, groups: tuple[Group, ...]) -> Numbers:
        """Bounded sums of errors and targets; with `bins`, of errors by what is predicted."""
        return Numbers(self.low, self.high, asked.bins or 0, groups)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that there are."""
        return (*self.usual, "loss")


@dataclass(frozen=True)
class Survival:
    """The time until an event, in bins with public ends, seen or censored.

    A label is twice the bins that a person came through under observation, and 1 more for an event in the next.
    """

    ends: tuple[float, ...]
    usual: ClassVar[tuple[str, ...]] = ("c_index", "mean_brier")

    @property
    def outputs(self) -> int:
        """A logit for each bin: of the hazard in it."""
        return len(self.ends)

    @property
    def horizons(self) -> dict[str, int]:
        """The metrics of single horizons: the bin at whose end each looks."""
        return {f"brier_at_{as_text(end)}": place for place, end in enumerate(self.ends)}

    def blocks(self, asked: Evaluation, groups: tuple[Group, ...]) -> Times:
        """Score bin x time x how it ended and, where the plan names one, what Brier scores are made of."""
        has_brier = any("brier" in name for name in asked.metrics)
        return Times(self.ends, asked.bins or TIME_BINS, has_brier, groups)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that there are."""
        return (*self.usual, "loss", *self.horizons)


@dataclass(frozen=True)
class Counts:
    """A count, clipped to a public cap. A label is the count, or with an exposure a pair of both.

    A model says the logarithm of the rate: of the count itself, or for one unit of exposure.
    """

    most: int
    has_exposure: bool = False
    usual: ClassVar[tuple[str, ...]] = ("deviance", "mae", "bias", "calibration_by_tenth")

    @property
    def outputs(self) -> int:
        """One: the logarithm of the rate."""
        return 1

    def blocks(self, asked: Evaluation, groups: tuple[Group, ...]) -> Numbers:
        """Bounded sums of errors and of the deviance; with `bins`, of errors by what is predicted."""
        return Numbers(0.0, float(self.most), asked.bins or 0, groups, is_count=True)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that there are."""
        return (*self.usual, "rmse", "loss")


@dataclass(frozen=True)
class Tally:
    """Nothing is predicted: the sum of the inputs of all records is what is learned, and each label is 0."""

    usual: ClassVar[tuple[str, ...]] = ()

    @property
    def outputs(self) -> int:
        """One: a param for each input."""
        return 1

    def blocks(self, asked: Evaluation, groups: tuple[Group, ...]) -> None:
        """None: no score is made."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """None."""
        return ()


Outcome = Classes | Range | Survival | Counts | Tally


def error_at_first(outcome: Outcome) -> float | None:
    """How long the gradient of a record's outputs typically is before anything is learned; None if nobody knows."""
    return math.sqrt(1 - 1 / outcome.count) if isinstance(outcome, Classes) else None
