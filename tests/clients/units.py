"""Plans for every unit that can be protected, and data that know whose a record is."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from federation.model.task import Dataset, cross_entropy
from federation.plan.plan import Plan, parse
from tests.clients.sites import DEFAULTS, TEXT, make_plan

NOISES = ("site", "distributed", "central")
PRIVATE = [(unit, noise) for unit in ("record", "patient", "client") for noise in NOISES]


def plan_for(unit: str, noise: str, **changes: object) -> Plan:
    """A plan for any unit; one for patients names the column that says whose a record is."""
    if unit != "patient":
        return make_plan(unit, noise, **changes)
    values = DEFAULTS | {"unit": unit, "noise": noise} | changes
    claim = "" if noise == "none" else "epsilon = {epsilon}\ndelta = {delta}\nclipping_norm = {clipping_norm}"
    text = TEXT.replace('target = "sick"', 'target = "sick"\npatient = "who"')
    return parse(text.format(**values, claim=claim.format(**values)))


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
