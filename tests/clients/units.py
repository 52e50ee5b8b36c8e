"""Every unit that can be protected, and data that say who a record's patient is."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from federation.model.task import Dataset, cross_entropy

NOISES = ("site", "distributed", "central")
PRIVATE = [(unit, noise) for unit in ("record", "patient", "client") for noise in NOISES]


def owned(data: Dataset, patients: Tensor | None = None) -> Dataset:
    """The same records, each a patient's own unless told otherwise."""
    return replace(data, patients=torch.arange(len(data)) if patients is None else patients)


def clipped_sum(model: nn.Module, data: Dataset, norm: float) -> Tensor:
    """The slow twin of every route: one backward pass per record, clipped by hand, float64."""
    parameters = list(model.parameters())
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for row, label in zip(data.features.to(torch.float64), data.labels, strict=True):
        grads = torch.autograd.grad(cross_entropy(model(row[None]), label[None]).sum(), parameters)
        gradient = torch.cat([grad.reshape(-1) for grad in grads])
        total += gradient * min(1.0, norm / max(float(gradient.norm()), 1e-300))
    return total
