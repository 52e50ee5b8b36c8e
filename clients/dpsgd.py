"""Local training with Opacus: the gradient of every record, clipped and summed. No noise is drawn here.

Opacus 1.6 computes the gradient of each record (hooks on the raw model, `wrap_model=False`) and clips it to
L2 norm C. The rest of its engine is left out on purpose: its sampler rounds the sample rate, its noise comes
from torch's generator, and its accountant forgets between rounds. Sampling and noise are ours
(`privacy.noise`), and the charge is in the journal before this file runs.

Why float64: in float32 the rounding error of a sum depends on every record in it, by more than a proof can
ignore. In float64 it is below 1e-12 of the clipping norm, far under the grid that the sum is put on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from opacus.grad_sample.utils import prepare_module
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from clients.training import Gradient

Loss = Callable[[Tensor, Tensor], Tensor]


@contextmanager
def clipped_gradient(model: nn.Module, loss: Loss, clipping_norm: float) -> Iterator[Gradient]:
    """Within the context: a function `(features, labels) -> sum of clipped gradients`, float64, flat.

    The model must be float64 and in training mode. A record whose gradient is not finite contributes zero, so
    that neither its presence nor its absence can be read from the sum. An empty batch sums to zero. The model
    leaves the context without hooks and without per-record gradients, whatever happened inside.
    """
    parameters = list(model.parameters())
    hooks = prepare_module(model, "hooks", wrap_model=False, batch_first=True, loss_reduction="sum")
    optimizer = DPOptimizer(
        torch.optim.SGD(parameters, lr=0.0),
        noise_multiplier=0.0,
        max_grad_norm=clipping_norm,
        expected_batch_size=None,
        loss_reduction="sum",
    )

    def gradient(features: Tensor, labels: Tensor) -> Tensor:
        if len(labels) == 0:
            return torch.zeros(sum(parameter.numel() for parameter in parameters), dtype=torch.float64)
        optimizer.zero_grad(set_to_none=True)
        with warnings.catch_warnings():
            # Inputs are data: nothing upstream of the first layer needs a gradient, which is what torch notes.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            total = loss(model(features), labels).sum()
            total.backward()  # type: ignore[no-untyped-call]
        _silence_non_finite(parameters)
        optimizer.clip_and_accumulate()
        return torch.cat([_summed(parameter).reshape(-1) for parameter in parameters])

    try:
        yield gradient
    finally:
        hooks.cleanup()
        for parameter in parameters:
            parameter.grad = None
            for name in ("grad_sample", "summed_grad"):
                if hasattr(parameter, name):
                    delattr(parameter, name)


def _silence_non_finite(parameters: list[nn.Parameter]) -> None:
    """Zero every record's gradient that is not finite in any coordinate, before norms are taken."""
    samples: list[Tensor] = [parameter.grad_sample for parameter in parameters]  # type: ignore[attr-defined]
    finite = torch.stack([torch.isfinite(sample.flatten(1)).all(dim=1) for sample in samples]).all(dim=0)
    if not bool(finite.all()):
        for sample in samples:
            sample[~finite] = 0.0


def _summed(parameter: nn.Parameter) -> Tensor:
    summed: Tensor = parameter.summed_grad  # type: ignore[attr-defined]
    return summed
