"""What follows for tensors from what a plan predicts: the loss, and strata of labels that tests should share."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from federation.model.losses import Hazards, Huber, Known, Output, Poisson, Squared
from federation.plan.outcomes import Classes, Counts, Outcome, Range, Survival, Tally

_STRATA: Final = 5  # of numbers


def loss_of(outcome: Range | Survival | Counts | Tally) -> Known:
    """The loss of an outcome; that of classes is `cross_entropy`, or what the plan names."""
    if isinstance(outcome, Tally):
        return Output()
    if isinstance(outcome, Range):
        return Squared() if outcome.huber is None else Huber(outcome.huber / half_of(outcome))
    return Hazards() if isinstance(outcome, Survival) else Poisson()


def half_of(outcome: Range) -> float:
    """Half the width of a range: what 1 of a label or an output stands for."""
    return outcome.high / 2 - outcome.low / 2


def labels_fit(outcome: Outcome, labels: Tensor) -> str:
    """What labels of a user's own code lack, as the end of "the data ..."; "" if nothing."""
    floats = labels.dtype == torch.float32 and bool(torch.isfinite(labels).all())
    if isinstance(outcome, Range):
        fits = floats and labels.dim() == 1 and bool((labels.abs() <= 1).all())
        return "" if fits else "must have float32 labels (n,) on [-1, 1], scaled from the range"
    if isinstance(outcome, Survival):
        most = 2 * len(outcome.ends)
        fits = (
            labels.dtype == torch.int64
            and labels.dim() == 1
            and bool(((labels >= 0) & (labels <= most)).all())
        )
        return (
            ""
            if fits
            else "must have int64 labels (n,): twice the bins come through, and 1 more for an event"
        )
    if isinstance(outcome, Counts) and outcome.has_exposure:
        fits = floats and labels.dim() == 2 and labels.shape[1] == 2 and bool((labels >= 0).all())
        return "" if fits else "must have float32 labels (n, 2): counts and exposures"
    fits = labels.dtype == torch.int64 and labels.dim() == 1
    return "" if fits else "must have int64 labels (n,)"


def strata(outcome: Outcome | None, labels: Tensor) -> Tensor:
    """A small whole number for each record, (n,): records of one stratum have labels that are alike.

    For simulations, which hold out the same share of each. A real site looks at no other record.
    """
    if outcome is None or isinstance(outcome, Classes | Tally):
        return labels
    if isinstance(outcome, Survival):
        return labels % 2
    values = (labels if labels.dim() == 1 else labels[:, 0]).to(torch.float64)
    if len(values) == 0:
        return values.to(torch.int64)
    inner = torch.linspace(0, 1, _STRATA + 1, dtype=torch.float64)[1:-1]
    return torch.bucketize(values, torch.unique(torch.quantile(values, inner)))
