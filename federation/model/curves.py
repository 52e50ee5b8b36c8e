"""What a linear or an additive model makes of each feature, read from its params alone: curves, and their noise.

Such a model adds up: what it predicts, such as the log-odds of a class (federation/model/contrasts.py), is an
intercept and one number per feature. A `Curve` has that number at points of the feature, in its own units; between
two of them the model goes along the straight line, on the feature's scale. The columns of a feature say a constant
between them that the intercept says, too, so what is shown is centered: over its public range, or its values, a
curve is 0 in the mean, and the intercept takes what was there. A mean over the records would have to be paid for.

`noise` is the standard deviation that the noise of privacy makes in what is shown: of the effect at a point, not
of the difference of two. It is what the noise makes, and no confidence interval: it says nothing of how the records
came to be drawn, nor of what the rounds had not yet learned. federation/sums/drift.py works it out for a param.

Nothing here looks at data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from federation.model.contrasts import contrasts, intercepts_of, split
from federation.model.points import Points, points_of
from federation.plan.columns.maps import slices
from federation.plan.tabular import TabularTask

_Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """What a feature adds to `outcome`, at points in order: of classes, to its log-odds.

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


@dataclass(frozen=True)
class Surface:
    """What a cross adds beyond the curves of its two features: effects by point of the first, then of the second.

    What depends on one of the two alone is in that one's curve, so along each of them a surface is 0 in the mean.
    """

    features: tuple[str, str]
    outcome: str
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    effect: tuple[tuple[float, ...], ...]
    noise: tuple[tuple[float, ...], ...] | None


def curves(task: TabularTask, params: Sequence[float], deviation: float | None) -> tuple[Curve, ...]:
    """The curves of a model with these flat params, feature by feature, each with all its outcomes.

    `deviation`: the standard deviation of the noise in each param; None if unknown. ValueError for another model.
    """
    read = _Read.of(task, params)
    found = []
    for feature in task.features:
        for points in read.points[feature.name]:
            shape = read.curve(feature.name, points)
            for one in contrasts(task):
                effect, noise = read.shown(shape, one.of, deviation)
                each = None if noise is None else tuple(noise.tolist())
                effects = tuple(effect.tolist())
                found.append(Curve(points.name, one.outcome, points.at, points.labels, effects, each))
    return tuple(found)


def surfaces(task: TabularTask, params: Sequence[float], deviation: float | None) -> tuple[Surface, ...]:
    """The same of the crosses."""
    read = _Read.of(task, params)
    found = []
    for pair in task.cross or ():
        labels = read.crossed(pair[0]).labels, read.crossed(pair[1]).labels
        sides, shape = (len(labels[0]), len(labels[1])), read.surface(pair)
        for one in contrasts(task):
            effect, noise = read.shown(shape, one.of, deviation)
            each = None if noise is None else _table(noise.reshape(sides))
            found.append(Surface(pair, one.outcome, labels, _table(effect.reshape(sides)), each))
    return tuple(found)


def intercepts(task: TabularTask, params: Sequence[float]) -> dict[str, float]:
    """What is predicted where all curves and surfaces are 0: with those at a record's cells it adds up.

    Of a time until an event there is one for each bin.
    """
    read = _Read.of(task, params)
    return intercepts_of(task, read.bias, read.weights @ read.base())


@dataclass(frozen=True, eq=False)
class _Read:
    """A model's params, and the points of its features. A row over all inputs picks what adds up to one effect."""

    task: TabularTask
    weights: _Numbers  # (outputs, inputs)
    bias: _Numbers
    points: Mapping[str, tuple[Points, ...]]
    places: Mapping[str, slice]
    crosses: Mapping[tuple[str, str], slice]

    @classmethod
    def of(cls, task: TabularTask, params: Sequence[float]) -> _Read:
        weights, bias = split(task, params)
        places = slices(task.features)
        widths = [
            (places[first].stop - places[first].start) * (places[second].stop - places[second].start)
            for first, second in task.cross or ()
        ]
        ends = list(accumulate(widths, initial=sum(len(feature.parts) for feature in task.features)))
        crosses = {pair: slice(*ends[at : at + 2]) for at, pair in enumerate(task.cross or ())}
        points = {feature.name: points_of(feature) for feature in task.features}
        return cls(task, weights, bias, points, places, crosses)

    def crossed(self, name: str) -> Points:
        """The points of a feature that is crossed: it has one part."""
        (points,) = self.points[name]
        return points

    def curve(self, name: str, own: Points) -> _Numbers:
        """(points, inputs): a feature's own columns, and its part in the crosses that it is in."""
        rows = self._rows(len(own.labels))
        rows[:, self.places[name]] = own.centered
        for (first, second), place in self.crosses.items():
            if name == first:
                rows[:, place] = np.kron(own.centered, self.crossed(second).mean)
            if name == second:
                rows[:, place] = np.kron(self.crossed(first).mean, own.centered)
        return rows

    def surface(self, pair: tuple[str, str]) -> _Numbers:
        """(points of the first times points of the second, inputs)."""
        first, second = map(self.crossed, pair)
        rows = self._rows(len(first.labels) * len(second.labels))
        rows[:, self.crosses[pair]] = np.kron(first.centered, second.centered)
        return rows

    def base(self) -> _Numbers:
        """(inputs,): what curves and surfaces leave out."""
        row = self._rows(1)
        for name, place in self.places.items():
            row[:, place] = sum(points.mean for points in self.points[name])
        for (first, second), place in self.crosses.items():
            row[:, place] = np.kron(self.crossed(first).mean, self.crossed(second).mean)
        return row.reshape(-1)

    def shown(
        self, shape: _Numbers, of: _Numbers, deviation: float | None
    ) -> tuple[_Numbers, _Numbers | None]:
        """Effects (points,) and the deviation of each: the noise in one param is independent of that in another."""
        effect: _Numbers = shape @ (of @ self.weights)
        if deviation is None:
            return effect, None
        noise: _Numbers = deviation * float(np.linalg.norm(of)) * np.sqrt(np.square(shape).sum(1))
        return effect, noise

    def _rows(self, many: int) -> _Numbers:
        return np.zeros((many, self.weights.shape[1]))


def _table(numbers: _Numbers) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in numbers.tolist())
