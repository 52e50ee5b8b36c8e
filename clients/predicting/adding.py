"""What each feature adds to what a model says of a row, if that adds up: with the intercept they are the whole.

Of classes that is their log-odds, of a number the number itself (federation/model/contrasts.py says all).

The contributions are the heights of the curves that `federation explain` and the report show, at the row's cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federation.model.contrasts import contrasts, split
from federation.model.curves import intercepts
from federation.model.points import points_of
from federation.plan.columns.maps import slices
from federation.plan.tabular import TabularTask

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Adding:
    """`names` (k,) of features, then of crosses. `intercepts`: one for each outcome, or of a time for each bin.

    `weights` (outcomes, d): what each column adds.
    """

    names: tuple[str, ...]
    outcomes: tuple[str, ...]
    intercepts: Mapping[str, float]
    _task: TabularTask
    _weights: _Numbers
    _means: Mapping[str, _Numbers]

    @classmethod
    def of(cls, task: TabularTask, params: _Numbers) -> Adding:
        """Of a model that adds up: `federation.model.contrasts.adds_up`."""
        weights, found = split(task, params.tolist())[0], contrasts(task)
        shown = np.array([one.of @ weights for one in found])
        means = {one.name: np.sum([each.mean[0] for each in points_of(one)], axis=0) for one in task.features}
        names = (*(one.name for one in task.features), *(f"{a} x {b}" for a, b in task.cross or ()))
        outcomes = tuple(one.outcome for one in found)
        return cls(names, outcomes, intercepts(task, params.tolist()), task, shown, means)

    def contributions(self, inputs: NDArray[np.float32]) -> _Numbers:
        """(n, outcomes, k) of rows (n, d)."""
        places, at = slices(self._task.features), sum(len(one.parts) for one in self._task.features)
        rows = {
            name: inputs[:, place].astype(np.float64) - self._means[name] for name, place in places.items()
        }
        found = np.zeros((len(inputs), len(self.outcomes), len(self.names)))
        index = {name: number for number, name in enumerate(self.names)}
        for name, place in places.items():
            found[:, :, index[name]] += rows[name] @ self._weights[:, place].T
        for number, (first, second) in enumerate(self._task.cross or (), len(places)):
            left, right = rows[first], rows[second]
            width = left.shape[1] * right.shape[1]
            crossed = self._weights[:, at : at + width].reshape(-1, left.shape[1], right.shape[1])
            found[:, :, index[first]] += left @ (crossed @ self._means[second]).T
            found[:, :, index[second]] += right @ np.einsum("i,oij->oj", self._means[first], crossed).T
            found[:, :, number] = np.einsum("ni,oij,nj->no", left, crossed, right, optimize=True)
            at += width
        return found
