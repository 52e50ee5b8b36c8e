"""DP-SGD as Opacus does it by its hooks: the same clients, the same minibatches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.simulation.workloads import Batch, Workload


def opacus_round(
    work: Workload, start: Sequence[Tensor], batches: Sequence[Sequence[Batch]], norm: float = 1.0
) -> Callable[[], None]:
    """A round with per-record clipping and noise. The model is wrapped once for all clients, which flatters it."""
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GradSampleModule(work.initial())
    params = list(model.parameters())

    def run() -> None:
        for mine in batches:
            with torch.no_grad():
                for param, first in zip(params, start, strict=True):
                    param.copy_(first)
            plain = torch.optim.SGD(params, lr=work.rate)
            optimizer = DPOptimizer(
                plain, noise_multiplier=1.0, max_grad_norm=norm, expected_batch_size=work.batch
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for features, labels in mine:
                    optimizer.zero_grad()
                    functional.cross_entropy(model(features), labels).backward()
                    optimizer.step()

    return run
