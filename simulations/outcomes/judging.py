"""Judges a model by what it predicts: what its outputs say, the metrics of that, and a guess without any feature.

A metric that does not exist is None ("n/a"), never a guess. Metrics are of exact held-out records, so they are for
simulations: the epsilon of a run does not cover them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from federation.errors import TaskError
from federation.model.outcomes import loss_of
from federation.model.task import Task
from federation.plan.outcomes import Classes, Counts, Outcome, Range, Survival, Tally
from federation.report.report import Metrics
from simulations.outcomes import numbers, survival
from simulations.scoring import metrics as of_classes

Score = Callable[[Tensor, Tensor], float | None]
"""What was said of records, and their labels, to a figure."""


class Measured(Protocol):
    """Predictions and labels to the named metrics; the threshold is that of two classes."""

    def __call__(
        self, said: Tensor, labels: Tensor, names: Sequence[str], threshold: float | None = None, /
    ) -> Metrics:
        """None for a metric that does not exist."""


@dataclass(frozen=True)
class Judge:
    """How an outcome is judged.

    `said` makes predictions of outputs; `scores` are the metrics of predictions and labels. `guess` predicts for n
    records what training labels say of all; `baseline` is its name.
    """

    said: Callable[[Tensor], Tensor]
    measured: Measured
    guess: Callable[[Tensor, int], Tensor]
    baseline: str
    positives: Callable[[Tensor], int | None] = field(default=lambda _: None)

    def predict(self, model: nn.Module, features: Tensor) -> Tensor:
        """What a model says of records. Leaves it in the mode that it was in."""
        return self.said(self.outputs(model, features))

    def counts(self, labels: Tensor) -> Mapping[str, int | None]:
        """What stands beside exact figures: `n` records, `positives` of them (None where nothing is positive)."""
        return {"n": len(labels), "positives": self.positives(labels)}

    def outputs(self, model: nn.Module, features: Tensor) -> Tensor:
        """A model's outputs for records. Leaves it in the mode that it was in."""
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                found: Tensor = model(features)
                return found
        finally:
            model.train(training)

    def without_features(self, known: Tensor, labels: Tensor, names: Sequence[str]) -> Metrics:
        """The metrics of saying the same of every record, by the training labels alone."""
        return self.measured(self.guess(known, len(labels)), labels, names)


def figures_of(
    task: Task,
    outcome: Outcome,
    outputs: Tensor,
    labels: Tensor,
    names: Sequence[str],
    threshold: float | None,
) -> Metrics:
    """The named metrics of a model's outputs: the task's own of them, others of what they say."""
    judge = judge_of(outcome)
    found = figures_said(task, judge, judge.said(outputs), labels, names, threshold)
    own = {name: _finite(task.metrics[name](outputs, labels)) for name in names if name in task.metrics}
    return {**found, **own}


def figures_said(
    task: Task,
    judge: Judge,
    said: Tensor,
    labels: Tensor,
    names: Sequence[str],
    threshold: float | None = None,
) -> Metrics:
    """The named metrics of predictions; None for those of the task's own code, which are of outputs."""
    known = [name for name in names if name not in task.metrics]
    return {**dict.fromkeys(names), **(judge.measured(said, labels, known, threshold) if known else {})}


def judge_of(outcome: Outcome) -> Judge:
    """How an outcome is judged."""
    if isinstance(outcome, Classes):
        return _of_classes(outcome)
    if isinstance(outcome, Tally):
        raise TaskError(
            "nothing is trained by this plan, so there is nothing to judge", hint="simulate it once"
        )
    scores = _scores(outcome)

    def measured(said: Tensor, labels: Tensor, names: Sequence[str], _: float | None = None, /) -> Metrics:
        unknown = sorted(set(names) - set(scores))
        if unknown:
            raise TaskError(f"no such metric: {unknown[0]}", hint=f"one of {', '.join(scores)}")
        if len(labels) == 0 or not bool(torch.isfinite(said).all()):
            return dict.fromkeys(names)
        return {name: _finite(scores[name](said, labels)) for name in names}

    if isinstance(outcome, Survival):
        ends = len(outcome.ends)
        return Judge(
            survival.said,
            measured,
            lambda known, count: survival.life_table(known, ends).expand(count, ends),
            "life_table",
            lambda labels: int((labels % 2).sum()),
        )
    unit = numbers.unit_of(outcome)
    return Judge(unit.said, measured, lambda known, count: unit.mean(known).expand(count), "mean")


def _of_classes(outcome: Classes) -> Judge:
    def guess(known: Tensor, count: int) -> Tensor:
        frequencies = torch.bincount(known, minlength=outcome.count).double()
        return (frequencies / frequencies.sum()).expand(count, outcome.count)

    return Judge(
        lambda outputs: torch.softmax(outputs, dim=1),
        of_classes.evaluate,
        guess,
        "majority",
        lambda labels: of_classes.counts(labels, outcome.count)["positives"],
    )


def _scores(outcome: Range | Survival | Counts) -> Mapping[str, Score]:
    if isinstance(outcome, Survival):
        return survival.scores(outcome)
    return numbers.scores(outcome, loss_of(outcome))


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) < float("inf") else None
