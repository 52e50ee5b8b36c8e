"""Metrics of times until an event, in the plan's bins.

An event in bin j has the time j + 1; who was last seen after j whole bins has j + 1/2, for nobody knows more: they
outlived every event up to bin j, and no later one. All figures are of these times.

    c_index      Harrell's: of the pairs of which it is known who had the event first, the share in which the model
                 says so, by the expected bins without an event; half for equal ones
    mean_brier   the mean over the horizons, the ends of the bins, of (survival said - survived)^2, each person
                 weighed by the inverse chance of not being censored until then (Graf et al. 1999); the chance
                 is the Kaplan-Meier estimate of the same records
    brier_at_T   the same at the horizon T alone; n/a where nobody was seen that long
    loss         the negative log likelihood of a person's intervals, the mean over people
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from federation.model.losses import at_risk
from federation.plan.outcomes import Survival

Score = Callable[[Tensor, Tensor], float | None]


def said(outputs: Tensor) -> Tensor:
    """The chance of no event until the end of each bin, (n, bins), of logits of hazards."""
    return torch.exp(-torch.nn.functional.softplus(outputs.double()).cumsum(dim=1))


def life_table(labels: Tensor, bins: int) -> Tensor:
    """The same for everybody, (bins,): one less the events over those at risk, multiplied up."""
    risk, event = at_risk(labels, bins)
    hazards = event.double().sum(dim=0) / risk.double().sum(dim=0).clamp(min=1)
    return (1 - hazards).cumprod(dim=0)


def scores(outcome: Survival) -> Mapping[str, Score]:
    """The metrics, by name."""
    at = {name: partial(_at, place) for name, place in outcome.horizons.items()}
    found: dict[str, Score] = {"c_index": c_index, "mean_brier": _over_horizons, "loss": _loss, **at}
    return {name: found[name] for name in outcome.metrics}


def c_index(survival: Tensor, labels: Tensor) -> float | None:
    """Harrell's concordance; None where no pair can be compared. Bin by bin, by ranks."""
    through, event, score = labels // 2, labels % 2 == 1, survival.sum(dim=1)
    right = pairs = 0.0
    for place in torch.unique(through[event]).tolist():
        first = score[event & (through == place)]
        later = score[through > place].sort().values
        below, until = (torch.searchsorted(later, first, right=each).double() for each in (False, True))
        right += float((len(later) - until).sum() + (until - below).sum() / 2)
        pairs += len(first) * len(later)
    return right / pairs if pairs else None


def brier(survival: Tensor, labels: Tensor) -> list[float | None]:
    """Graf's score at the end of each bin; None from where on nobody was seen."""
    bins = survival.shape[1]
    free, through, event = _uncensored(labels, bins), labels // 2, labels % 2 == 1
    found: list[float | None] = []
    for place in range(bins):
        gone, there = event & (through <= place), through > place
        if float(free[place]) <= 0:
            found.append(None)
            continue
        weights = torch.zeros(len(labels), dtype=torch.float64)
        weights[gone] = 1 / free[through[gone]]
        weights[there] = 1 / free[place]
        off = survival[:, place] - there.double()
        found.append(float((weights * off.square()).mean()))
    return found


def _uncensored(labels: Tensor, bins: int) -> Tensor:
    """The chance of being seen through bin j, were there no events, (bins,): Kaplan and Meier's, of censoring."""
    through, censored = labels // 2, labels % 2 == 0
    here = torch.stack([(through >= place).double().sum() for place in range(bins)])
    lost = torch.stack([(censored & (through == place)).double().sum() for place in range(bins)])
    return (1 - lost / here.clamp(min=1)).cumprod(dim=0)


def _over_horizons(survival: Tensor, labels: Tensor) -> float | None:
    known = [one for one in brier(survival, labels) if one is not None]
    return sum(known) / len(known) if known else None


def _at(place: int, survival: Tensor, labels: Tensor) -> float | None:
    return brier(survival, labels)[place]


def _loss(survival: Tensor, labels: Tensor) -> float:
    """Of survival, not of logits: the chance of what a person came through, or of the bin of the event."""
    whole = torch.cat([torch.ones(len(survival), 1, dtype=torch.float64), survival.double()], dim=1)
    rows, through, event = torch.arange(len(labels)), labels // 2, labels % 2 == 1
    lived = whole[rows, through]
    last = whole[rows, (through + 1).clamp(max=survival.shape[1])]
    chance = torch.where(event, lived - last, lived)
    return -float(chance.log().mean())
