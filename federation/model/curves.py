"""What a linear or an additive model makes of each feature, read from its params alone: curves, and their noise.

Such a model adds up: the log-odds of a class are an intercept and one number per feature. A `Curve` has that
number at points of the feature, in its own units; between two of them the model goes along the straight line. The
columns of a feature say a constant between them that the intercept says, too, so what is shown is centered: over
its public range, or its values, a curve is 0 in the mean, and the intercept takes what was there. A mean over the
records would have to be paid for.

`noise` is the standard deviation that the noise of privacy makes in what is shown: of the effect at a point, not
of the difference of two. It is what the noise makes, and no confidence interval: it says nothing of how the records
came to be drawn, nor of what the rounds had not yet learned. federation/sums/drift.py works it out for a param.

Nothing here looks at data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federation.plan.features import Feature, Numeric
from federation.plan.numerals import as_text
from federation.plan.tabular import TabularTask

ADDITIVE = ("logistic",)
"""The models that add up. Of another there are no curves."""

_Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """What a feature adds to the log-odds of `outcome`, at points in order.

    Of two classes there is one curve, of the second against the first; of more, one for each class against the
    mean of all. `at` is None at a point that is no number: a value, or a cell that is missing. `labels` are the
    points as people read them. `noise` is None where the plan's noise is unknown, and 0 where there is none.
    """

    feature: str
    outcome: str
    at: tuple[float | None, ...]
    labels: tuple[str, ...]
    effect: tuple[float, ...]
    noise: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a feature: the columns (points, width) that a cell there becomes, and their share in the mean."""

    at: tuple[float | None, ...]
    labels: tuple[str, ...]
    columns: _Numbers
    weights: _Numbers


def curves(task: TabularTask, params: Sequence[float], deviation: float | None) -> tuple[Curve, ...]:
    """The curves of a model with these flat params, feature by feature, each with all its outcomes.

    `deviation`: the standard deviation of the noise in each param; None if unknown. ValueError for another model.
    """
    weights, _ = _split(task, params)
    found, at = [], 0
    for feature in task.features:
        points = points_of(feature)
        width = points.columns.shape[1]
        shape = points.columns - points.weights @ points.columns
        effects = shape @ weights[:, at : at + width].T
        norms = np.sqrt(np.square(shape).sum(1))
        found += [
            Curve(
                feature.name,
                outcome,
                points.at,
                points.labels,
                tuple((effects @ of).tolist()),
                None
                if deviation is None
                else tuple((deviation * float(np.linalg.norm(of)) * norms).tolist()),
            )
            for outcome, of in _contrasts(task)
        ]
        at += width
    return tuple(found)


def intercepts(task: TabularTask, params: Sequence[float]) -> dict[str, float]:
    """The log-odds by outcome where every curve is 0. With the curves at a record's cells they are its own."""
    weights, bias = _split(task, params)
    means = np.concatenate([points.weights @ points.columns for points in map(points_of, task.features)])
    return {outcome: float(of @ (weights @ means + bias)) for outcome, of in _contrasts(task)}


def points_of(feature: Feature) -> Points:
    """A feature's points: the ends of a range, or all values."""
    if isinstance(feature, Numeric):
        columns = np.array([[-1.0], [1.0]])
        at = (feature.low, feature.high)
        return Points(at, tuple(map(as_text, at)), columns, _along(2))
    many = len(feature.parts)
    labels = tuple(part.removeprefix("= ") for part in feature.parts)
    return Points((None,) * many, labels, np.eye(many), np.full(many, 1 / many))


def _along(many: int) -> _Numbers:
    """The weights of the mean of a line through so many even points: halves at the ends."""
    weights = np.full(many, 1 / (many - 1))
    weights[[0, -1]] /= 2
    return weights


def _split(task: TabularTask, params: Sequence[float]) -> tuple[_Numbers, _Numbers]:
    """Weights (classes, inputs) and bias (classes,)."""
    if task.model not in ADDITIVE:
        raise ValueError(f'a model of kind "{task.model}" does not add up')
    flat, classes = np.asarray(params, np.float64), len(task.classes)
    if flat.shape != ((task.inputs + 1) * classes,):
        raise ValueError("these are no params of this task's model")
    return flat[: task.inputs * classes].reshape(classes, task.inputs), flat[task.inputs * classes :]


def _contrasts(task: TabularTask) -> list[tuple[str, _Numbers]]:
    """Each outcome, and how its log-odds follow from the outputs of the model."""
    many = len(task.classes)
    if many == 2:
        return [(task.classes[1], np.array([-1.0, 1.0]))]
    return list(zip(task.classes, np.eye(many) - 1 / many, strict=True))
