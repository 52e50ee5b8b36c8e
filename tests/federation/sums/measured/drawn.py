"""A population of made-up records with what a model says of each, and their exact figures."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from clients.training.evaluating.measured import of_numbers, of_times
from federation.kinds.moments import Numbers, Times
from federation.plan.outcomes import Counts, Outcome, Range, Survival
from simulations.outcomes.judging import judge_of

SIZE = 6000
RANGE = Numbers(20.0, 180.0, 6, ())
COUNT = Numbers(0.0, 12.0, 0, (), is_count=True)
TIME = Times((30.0, 90.0, 180.0, 365.0), 6, True, ())
BLOCKS: dict[str, Numbers | Times] = {"range": RANGE, "count": COUNT, "time": TIME}
OUTCOMES: dict[str, Outcome] = {
    "range": Range(20.0, 180.0),
    "count": Counts(12),
    "time": Survival(TIME.ends),
}


@cache
def drawn(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """What is known of each record, the model's outputs, and the labels."""
    made = torch.Generator().manual_seed(5)
    known = torch.randn(SIZE, generator=made, dtype=torch.float64)
    if name == "range":
        noise = 0.15 * torch.randn(SIZE, generator=made, dtype=torch.float64)
        labels = (0.25 * known - 0.2 + noise).clamp(-1, 1)
        return known, (0.22 * known - 0.15)[:, None], labels
    if name == "count":
        labels = torch.poisson((0.3 + 0.4 * known).exp(), generator=made).clamp(max=12)
        outputs = (0.35 + 0.3 * known).clamp(max=1.7)
        inside = (outputs.exp() - labels).abs() < 6  # an error or deviance beyond its bound is another test
        inside &= 2 * (torch.xlogy(labels, labels / outputs.exp()) - labels + outputs.exp()) < 8
        return known[inside], outputs[inside, None], labels[inside]
    hazards = torch.sigmoid(0.8 * known[:, None] + torch.tensor([-1.8, -1.4, -1.2, -1.0]))
    drawn_at = torch.rand(SIZE, 4, generator=made, dtype=torch.float64)
    lost_at = torch.rand(SIZE, 4, generator=made, dtype=torch.float64)
    labels = torch.full((SIZE,), 8)
    for place in reversed(range(4)):
        labels = torch.where(lost_at[:, place] < 0.08, 2 * place, labels)
        labels = torch.where(drawn_at[:, place] < hazards[:, place], 2 * place + 1, labels)
    return known, 0.6 * known[:, None] + torch.tensor([-1.7, -1.5, -1.1, -1.1]).double(), labels


@cache
def rows_of(name: str) -> Tensor:
    """What each record adds."""
    _, outputs, labels = drawn(name)
    blocks = BLOCKS[name]
    return (
        of_numbers(blocks, outputs, labels)
        if isinstance(blocks, Numbers)
        else of_times(blocks, outputs, labels)
    )


@cache
def exact(name: str) -> dict[str, float | None]:
    """As a simulation judges the same records."""
    _, outputs, labels = drawn(name)
    judge = judge_of(OUTCOMES[name])
    return dict(judge.measured(judge.said(outputs), labels, OUTCOMES[name].metrics))
