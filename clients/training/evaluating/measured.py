"""What a held-out record adds to bounded sums, where no class is predicted (`federation.kinds.moments`).

A record adds to one block of every table, a patient the mean of what their records would, so that each person
counts once. Either part is at most `Blocks.norm` long. A record on which the model's code raises adds nothing, and
an output that is no number counts as 0. All is worked out in float64, as cells are
(`clients.training.evaluating.counted`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from federation.kinds.moments import DEVIANCE, SUMS, Numbers, Times
from federation.model.losses import counted


def of_numbers(blocks: Numbers, outputs: Tensor, labels: Tensor) -> Tensor:
    """What each record adds to its block (n, block), of outputs (n, 1)."""
    outputs = torch.nan_to_num(outputs[:, 0].to(torch.float64), nan=0.0)
    rows = torch.zeros(len(outputs), blocks.block, dtype=torch.float64)
    if blocks.is_count:
        seen, exposures = counted(labels.to(torch.float64), outputs)
        rates = torch.nan_to_num(outputs.exp() * exposures, nan=0.0)
        most = 2 * blocks.half
        said, target = rates.clamp(max=most) / blocks.half - 1, seen / blocks.half - 1
        own = _deviance(seen, rates)
    else:
        said, target = outputs.clamp(-1, 1), labels.to(torch.float64)
        own = target
    error = (said - target).clamp(-1, 1)
    square = error * error
    first = [torch.ones_like(error), error, error.abs(), square, square * square, own, own * own]
    rows[:, :SUMS] = torch.stack(first, dim=1)
    if blocks.bins:
        edges = torch.tensor(blocks.edges, dtype=torch.float64)
        places, each = torch.bucketize(said.contiguous(), edges, right=True), torch.arange(len(said))
        rows[each, SUMS + places] = 1.0
        rows[each, SUMS + blocks.bins + places] = error
        rows[each, SUMS + 2 * blocks.bins + places] = square
    return rows * torch.tensor(blocks.weights, dtype=torch.float64)


def _deviance(seen: Tensor, rates: Tensor) -> Tensor:
    """Poisson's, of each record, over DEVIANCE and at most 1."""
    parts = 2 * (torch.xlogy(seen, seen / rates) - seen + rates)
    return torch.nan_to_num(parts / DEVIANCE, nan=1.0, posinf=1.0).clamp(0.0, 1.0)


def of_times(blocks: Times, outputs: Tensor, labels: Tensor) -> Tensor:
    """What each record adds to its block (n, block), of the logits of hazards (n, intervals)."""
    hazards = torch.nan_to_num(outputs.to(torch.float64), nan=0.0)
    rows = torch.zeros(len(hazards), blocks.block, dtype=torch.float64)
    chances = torch.exp(-torch.nn.functional.softplus(hazards).cumsum(dim=1))
    edges = torch.tensor(blocks.edges, dtype=torch.float64)
    bins = torch.bucketize(chances.mean(dim=1), edges, right=True)
    rows[torch.arange(len(rows)), bins * blocks.labels + labels] = 1.0
    if blocks.has_brier:
        rows[:, blocks.cells :] = _squares(blocks, chances, labels)
    return rows


def _squares(blocks: Times, chances: Tensor, labels: Tensor) -> Tensor:
    through, event = labels // 2, labels % 2 == 1
    gone = torch.stack(
        [torch.where(event & (through == at), chances[:, j].square(), 0.0) for at, j in blocks.pairs], dim=1
    )
    later = torch.arange(chances.shape[1]) < through[:, None]
    there = torch.where(later, (1 - chances).square(), 0.0)
    return torch.cat([gone, there], dim=1) / math.sqrt(chances.shape[1])
