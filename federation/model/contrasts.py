"""What the outputs of a linear or an additive model mean, kind by kind: what a feature adds to, and from where on.

classes            the log-odds of the second class against the first; of more, of each against the mean of all
a number           the number itself, in its own unit
a time until an event   the log-odds of the hazard, alike in all bins, of which each has its own intercept
a count            the logarithm of the expected count, for one unit of exposure where there is one
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federation.plan.columns.features import Wide
from federation.plan.numerals import as_text
from federation.plan.series.tasks import Series
from federation.plan.tabular import TabularTask
from federation.plan.tasks import Classification, Counting, Regression, TimeToEvent

ADDITIVE = ("logistic", "linear", "additive")
"""The models that add up. Of another there are no curves."""

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Contrast:
    """An `outcome` that is a constant and the outputs of the model, each times its part in `of` (outputs,)."""

    outcome: str
    of: _Numbers = field(repr=False)
    constant: float = 0.0

    @property
    def spread(self) -> float:
        """The deviation of an effect over that of the noise in one param, of a column that is 1."""
        return float(np.linalg.norm(self.of))


def adds_up(task: object) -> bool:
    """Whether the model of a task is a sum over its features, which params alone tell.

    A linear model of a window is a sum, too, of as many weights a feature as rows: a curve for each says little.
    Scores of a hinge loss add up, too, but to no log-odds.
    """
    kinds = Classification | Regression | TimeToEvent | Counting
    if isinstance(task, Series) or not isinstance(task, kinds):
        return False
    if task.model not in ADDITIVE or task.rows is not None:
        return False
    return task.learns_chances and not any(isinstance(feature, Wide) for feature in task.features)


def contrasts(task: TabularTask) -> list[Contrast]:
    """The outcomes of a task. ValueError for one of another kind."""
    if isinstance(task, Classification):
        return _of_classes(task.classes)
    if isinstance(task, Regression):
        low, high = task.target_range.low, task.target_range.high
        half = high / 2 - low / 2
        return [Contrast(task.target, np.array([half]), low + half)]
    if isinstance(task, TimeToEvent | Counting):
        return [Contrast(task.event if isinstance(task, TimeToEvent) else task.target, np.ones(1))]
    raise ValueError("there are no curves of a task of this kind")


def adds_to(task: TabularTask) -> str:
    """What an effect is added to, in words."""
    if isinstance(task, Regression):
        return f"the predicted {task.target}, in its own unit"
    if isinstance(task, Counting):
        return f"the logarithm of the expected {task.target}"
    return "the log-odds of the hazard" if isinstance(task, TimeToEvent) else "the log-odds"


def split(task: TabularTask, params: Sequence[float]) -> tuple[_Numbers, _Numbers]:
    """Weights (outputs, inputs) and bias: one for each output, of a time until an event one for each bin."""
    if task.model not in ADDITIVE:
        raise ValueError(f'a model of kind "{task.model}" does not add up')
    if task.rows is not None:
        raise ValueError("rows that are divided by their length do not add up")
    flat, outputs = np.asarray(params, np.float64), len(contrasts(task)[0].of)
    many = len(task.bins) if isinstance(task, TimeToEvent) else outputs
    if flat.shape != (task.inputs * outputs + many,):
        raise ValueError("these are no params of this task's model")
    return flat[: task.inputs * outputs].reshape(outputs, task.inputs), flat[task.inputs * outputs :]


def intercepts_of(task: TabularTask, bias: _Numbers, base: _Numbers) -> dict[str, float]:
    """What is there where all effects are 0. `base`: what the weights make of that, by output."""
    (first, *_) = found = contrasts(task)
    if isinstance(task, TimeToEvent):
        names = [f"{first.outcome}, bin up to {as_text(end)}" for end in task.bins]
        return dict(zip(names, (base + bias).tolist(), strict=True))
    return {one.outcome: float(one.of @ (base + bias)) + one.constant for one in found}


def _of_classes(classes: tuple[str, ...]) -> list[Contrast]:
    many = len(classes)
    if many == 2:
        return [Contrast(classes[1], np.array([-1.0, 1.0]))]
    rows = np.eye(many) - 1 / many
    return [Contrast(name, row) for name, row in zip(classes, rows, strict=True)]
