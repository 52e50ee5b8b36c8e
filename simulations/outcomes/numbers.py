"""Metrics of numbers and counts, in the target's own unit.

    mae           mean of |predicted - observed|
    rmse          root of the mean of its square
    r2            1 - squared error / squared deviation from the mean of the same records; n/a where all are alike
    bias          mean predicted - mean observed: calibration in the large
    calibration_by_tenth   the same in each tenth of the records, by what is predicted, without sign, and averaged
    deviance      of counts: the mean Poisson deviance, 0 where every count is predicted
    loss          what was trained on, in its own scale

Observed values are as the plan reads them: clipped to its range, or cut at its cap. So are predictions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from federation.model.losses import Known, Poisson, counted
from federation.model.outcomes import half_of
from federation.plan.outcomes import Counts, Range

_PARTS = 10
Score = Callable[[Tensor, Tensor], float | None]


@dataclass(frozen=True)
class Unit:
    """Between what a model says and the target's unit.

    `said`: outputs (n, 1) to predictions (n,), of a rate where there is an exposure; `expected`: predictions and
    labels to the expected value of each record; `observed`: labels to values; `mean`: labels to the one prediction
    that is best for all; `output`: predictions to outputs, for the loss.
    """

    said: Callable[[Tensor], Tensor]
    expected: Callable[[Tensor, Tensor], Tensor]
    observed: Callable[[Tensor], Tensor]
    mean: Callable[[Tensor], Tensor]
    output: Callable[[Tensor], Tensor]


def unit_of(outcome: Range | Counts) -> Unit:
    """The unit of an outcome."""
    if isinstance(outcome, Counts):
        return _of_counts(outcome)
    half, middle = half_of(outcome), outcome.low / 2 + outcome.high / 2

    def value(labels: Tensor) -> Tensor:
        return middle + half * labels.double()

    return Unit(
        said=lambda outputs: value(outputs[:, 0].clamp(-1, 1)),
        expected=lambda said, _: said,
        observed=value,
        mean=lambda labels: value(labels).mean(),
        output=lambda said: (said - middle) / half,
    )


def _of_counts(outcome: Counts) -> Unit:
    def pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
        counts = labels if labels.dim() == 1 else labels[:, 0]
        found, exposures = counted(labels.double(), counts.double())
        return found, exposures

    def rate(labels: Tensor) -> Tensor:
        counts, exposures = pairs(labels)
        return counts.sum() / exposures.sum()

    return Unit(
        said=lambda outputs: outputs[:, 0].double().exp(),
        expected=lambda said, labels: (said * pairs(labels)[1]).clamp(max=outcome.most),
        observed=lambda labels: pairs(labels)[0],
        mean=rate,
        output=torch.log,
    )


def scores(outcome: Range | Counts, loss: Known) -> Mapping[str, Score]:
    """The metrics of an outcome, by name."""
    unit = unit_of(outcome)

    def of(score: Callable[[Tensor, Tensor], float | None]) -> Score:
        return lambda said, labels: score(unit.expected(said, labels), unit.observed(labels))

    found: dict[str, Score] = {
        "mae": of(lambda predicted, seen: float((predicted - seen).abs().mean())),
        "rmse": of(lambda predicted, seen: math.sqrt(float((predicted - seen).square().mean()))),
        "r2": of(_r2),
        "bias": of(lambda predicted, seen: float((predicted - seen).mean())),
        "calibration_by_tenth": of(_calibration),
        "loss": lambda said, labels: float(loss(unit.output(said).unsqueeze(1), labels.double()).mean()),
    }
    if isinstance(loss, Poisson):
        found["deviance"] = lambda said, labels: _deviance(unit, said, labels)
    return {name: found[name] for name in outcome.metrics}


def _r2(predicted: Tensor, seen: Tensor) -> float | None:
    spread = float((seen - seen.mean()).square().sum())
    return 1 - float((predicted - seen).square().sum()) / spread if spread > 0 else None


def _calibration(predicted: Tensor, seen: Tensor) -> float:
    """Tenths of the records, as equal as can be: records of which the same is predicted are in one of them."""
    ranks = torch.searchsorted(predicted.sort().values, predicted.contiguous())
    tenth = _PARTS * ranks // len(seen)
    off = torch.zeros(_PARTS, dtype=torch.float64).index_add_(0, tenth, predicted - seen)
    return float(off.abs().sum()) / len(seen)


def _deviance(unit: Unit, said: Tensor, labels: Tensor) -> float:
    """2 (y log(y / m) - y + m) of each record, where 0 log 0 is 0. The model's rate is not cut."""
    seen = unit.observed(labels)
    exposures = torch.ones_like(seen) if labels.dim() == 1 else labels[:, 1].double()
    expected = said * exposures
    parts = torch.xlogy(seen, seen / expected) - seen + expected
    return 2 * float(parts.mean())
