"""What a model says, from its params and the plan alone: coefficients, curves, crosses and intercepts.

All of it is post-processing of what was released: it stands in the report of a real run and costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from federation.model.contrasts import adds_to, contrasts, split
from federation.model.curves import Curve, Surface, curves, intercepts, surfaces
from federation.model.outcomes import half_of
from federation.model.points import middle_record
from federation.plan.columns.features import Wide
from federation.plan.layout import layout
from federation.plan.outcomes import Classes, Range
from federation.plan.tabular import TabularTask
from federation.plan.tasks import Classification
from federation.report.said.finished import Finished, adds_up

BAND = (
    "The band is two standard deviations of what the noise of privacy makes of a curve by itself. It is not a "
    "confidence interval: it says nothing of how the records came to be drawn, nor of what the rounds had not "
    "learned yet."
)
CENTERED = (
    "Each curve is 0 in the mean over its public range or its values, and not over the records; the intercept "
    "takes what was there. What is shown is associated with the outcome in this model, and need not be its cause."
)


@dataclass(frozen=True)
class Coefficient:
    """The weight of one column of the input, in what is said of an outcome, and the noise's deviation in it."""

    name: str
    feature: str
    outcome: str
    weight: float
    noise: float | None


@dataclass(frozen=True)
class Said:
    """What a model that adds up says of each feature."""

    outcomes: tuple[str, ...]
    intercepts: dict[str, float]
    curves: tuple[Curve, ...]
    surfaces: tuple[Surface, ...]
    coefficients: tuple[Coefficient, ...]
    deviation: float | None
    adds_to: str
    is_of_classes: bool

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "outcomes": list(self.outcomes),
            "adds_to": self.adds_to,
            "noise_deviation": self.deviation,
            "intercepts": self.intercepts,
            "coefficients": [vars(one) for one in self.coefficients],
            "curves": [vars(one) for one in self.curves],
            "surfaces": [vars(one) for one in self.surfaces],
        }


def said(run: Finished) -> Said | None:
    """What the model of a run says; None if it does not add up."""
    task = run.table
    if task is None or not adds_up(run.plan):
        return None
    flat = run.params.double().tolist()
    return Said(
        tuple(one.outcome for one in contrasts(task)),
        intercepts(task, flat),
        curves(task, flat, run.deviation),
        surfaces(task, flat, run.deviation),
        _coefficients(task, flat, run.deviation),
        run.deviation,
        adds_to(task),
        isinstance(task, Classification),
    )


def _coefficients(task: TabularTask, params: list[float], deviation: float | None) -> tuple[Coefficient, ...]:
    weights, _ = split(task, params)
    shown = [(one, one.of @ weights) for one in contrasts(task)]
    return tuple(
        Coefficient(
            column.name,
            column.feature,
            one.outcome,
            float(row[at]),
            None if deviation is None else deviation * one.spread,
        )
        for at, column in enumerate(layout(task))
        for one, row in shown
    )


def slopes(run: Finished) -> list[tuple[str, float]] | None:
    """How the log-odds of the second class (of more outputs: the largest change of any) move with each column, in
    the middle of the public ranges; a number moves in its own unit. None where there are no columns.
    """
    task = run.table
    if task is None:
        return None
    from federation.model.params import Layout

    model = run.task.model()
    Layout.of(model).load(model, run.params)
    model.eval()
    row = torch.from_numpy(middle_record(task)).float()[None]
    outputs = model(row.requires_grad_())[0]
    found = torch.cat([torch.autograd.grad(one, row, retain_graph=True)[0] for one in outputs]).double()
    largest = found.gather(0, found.abs().argmax(0)[None])[0]
    outcome = run.task.predicts
    two = isinstance(outcome, Classes) and len(found) == 2
    shown = found[1] - found[0] if two else largest
    if isinstance(outcome, Range):
        shown = shown * half_of(outcome)
    wholes = {one.name for one in task.features if isinstance(one, Wide)}
    columns = enumerate(layout(task))
    return [(column.name, float(shown[at])) for at, column in columns if column.feature not in wholes]
