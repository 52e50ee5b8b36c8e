"""Integrated gradients (Sundararajan, Taly and Yan 2017) of a run's model: what each feature adds to what it says.

Of rows that the plan makes up, of values that it names itself (federation/model/points.py), from the row in the
middle of the public ranges. So it follows from params and plan, costs nothing, and is the same on every machine: it
says what the model makes of its inputs, and nothing of anybody's records.

    attribution = (x - middle) * the mean of the gradient on the straight way from the middle to x

The mean is by Gauss and Legendre, with twice as many nodes until a row's attributions sum up to f(x) - f(middle).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from federation.model.outcomes import half_of
from federation.model.params import Layout
from federation.model.points import middle_record, points_of
from federation.plan.columns.features import Wide
from federation.plan.layout import layout
from federation.plan.outcomes import Classes, Outcome, Range, Survival
from federation.plan.tabular import TabularTask
from federation.report.said.finished import Finished
from privacy.mechanism.noise import Stream

ROWS: Final = 256
NODES: Final = (16, 32, 64, 128, 256, 512)
COMPLETE: Final = 1e-4
WHAT = (
    "Integrated gradients of {rows} rows that the plan makes up, from the row in the middle of the public ranges: "
    "by how much a feature moves {what}, and which way in the mean. Of what people's records are like it "
    "says nothing, and it need not be a cause."
)
_LABEL = b"federation/attributions/1"


@dataclass(frozen=True)
class Attributed:
    """Of one feature: the mean size of its attributions over all rows, and their mean."""

    feature: str
    size: float
    mean: float


@dataclass(frozen=True)
class Attributions:
    """All features, the largest first. `gap`: by how much a row's attributions miss their sum, at most."""

    what: str
    rows: int
    features: tuple[Attributed, ...]
    gap: float

    @property
    def words(self) -> str:
        """What the figures are."""
        return WHAT.format(rows=self.rows, what=self.what)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        features = [vars(one) for one in self.features]
        return {"of": self.what, "rows": self.rows, "gap": self.gap, "features": features}


def attributions(run: Finished) -> Attributions | None:
    """What the features of a table add to what the model says of made-up rows; None where there are no columns."""
    task = run.table
    if task is None or task.rows is not None or any(isinstance(one, Wide) for one in task.features):
        return None
    model = run.task.model()
    Layout.of(model).load(model, run.params)
    model = model.double().eval()
    middle, rows = made_up(task, ROWS)
    with torch.no_grad():
        what, weights = _weights(run.task.predicts, model(rows))
    what = what if task.learns_chances else what.replace("log-odds", "score")
    found, gap = integrated(lambda inputs: (model(inputs) * weights).sum(1), rows, middle)
    names = [column.feature for column in layout(task)]
    each = []
    for feature in dict.fromkeys(names):
        own = found[:, [at for at, name in enumerate(names) if name == feature]].sum(1)
        each.append(Attributed(feature, float(own.abs().mean()), float(own.mean())))
    return Attributions(what, ROWS, tuple(sorted(each, key=lambda one: -one.size)), gap)


def integrated(
    says: Callable[[Tensor], Tensor], rows: Tensor, middle: Tensor, complete: float = COMPLETE
) -> tuple[Tensor, float]:
    """Attributions (n, inputs) of what a model says (n,) of each row, and by how much a row's miss their sum."""
    with torch.no_grad():
        whole = says(rows) - says(middle.expand_as(rows))
    found, gap = torch.zeros_like(rows), float("inf")
    for nodes in NODES:
        places, weights = np.polynomial.legendre.leggauss(nodes)
        found = torch.zeros_like(rows)
        for place, weight in zip(((places + 1) / 2).tolist(), (weights / 2).tolist(), strict=True):
            on_the_way = (middle + place * (rows - middle)).requires_grad_()
            found += weight * torch.autograd.grad(says(on_the_way).sum(), on_the_way)[0]
        found = found * (rows - middle)
        gap = float((found.sum(1) - whole).abs().max())
        if gap <= complete:
            break
    return found, gap


def made_up(task: TabularTask, count: int) -> tuple[Tensor, Tensor]:
    """The middle (inputs,), and records (n, inputs) of points of each feature, drawn by a public seed."""
    text = task.model_dump_json(include={"features"}).encode()
    stream = Stream(sha256(_LABEL + sha256(text).digest()).digest())
    middle, rows = torch.from_numpy(middle_record(task)), torch.zeros(count, task.inputs).double()
    for step in range(task.steps):
        _fill(rows[:, step * task.width :], task, stream)
    return middle, rows


def _fill(rows: Tensor, task: TabularTask, stream: Stream) -> None:
    """Points of each feature into the first columns of rows, in place."""
    start, count = 0, len(rows)
    for feature in task.features:
        for points in points_of(feature):  # of a date several, each over all of its columns
            width = points.columns.shape[1]
            chosen = (stream.words(count) % np.uint64(len(points.columns))).astype(np.int64)
            rows[:, start : start + width] += torch.from_numpy(points.columns[chosen])
        start += width


def _weights(outcome: Outcome, outputs: Tensor) -> tuple[str, Tensor]:
    """What is explained, and the weight (n, outputs) of each output in it, row by row."""
    ones = torch.ones_like(outputs)
    if isinstance(outcome, Classes) and outputs.shape[1] == 2:
        return "the log-odds of the second class", ones * outputs.new_tensor([-1.0, 1.0])
    if isinstance(outcome, Classes):
        likeliest = torch.nn.functional.one_hot(outputs.argmax(1), outputs.shape[1]).to(outputs)
        return (
            "the log-odds of a row's likeliest class, against the mean of all",
            likeliest - 1 / outputs.shape[1],
        )
    if isinstance(outcome, Range):
        return "the predicted number, in its own unit", ones * half_of(outcome)
    if isinstance(outcome, Survival):
        return "the log-odds of the hazard", ones / outputs.shape[1]
    return "the logarithm of the expected number", ones
