"""Whether everything that a model trains moves, on made-up records, before any noise is paid for.

An adapter may train without an error and never change: its layers were made before the model moved to its device
(opacus#820), or it was frozen by mistake, or its output reaches no loss. Epsilon is spent, and nothing learned. So
after two steps of plain gradient descent every trained tensor must have had a gradient that is not zero. One step
is not enough: LoRA begins with B = 0, so its A has no gradient before B has moved (Hu et al. 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clients.training.per_example import one_of
from clients.training.trial import Trial
from federation.errors import TaskError
from federation.model.base import shared, trained

_RECORDS = 4
_LENGTH = 1.0  # of a step, whatever the gradient's own: far above rounding, and no further than params are


def require_moving(trial: Trial, name: str) -> None:
    """TaskError with the name of a trained tensor that has no gradient within two steps."""
    model = shared(trial.model)
    names, parameters = zip(*trained(model).items(), strict=True)
    still = set(names)
    for seed in (0, 1):
        torch.default_generator.manual_seed(seed)
        gradients = _summed(trial, model, seed)
        still -= {each for each, found in zip(names, gradients, strict=True) if bool(found.any())}
        if not still:
            return
        length = torch.stack([found.norm() for found in gradients]).norm()
        if not (bool(torch.isfinite(length)) and length > 0):
            break
        with torch.no_grad():
            for parameter, found in zip(parameters, gradients, strict=True):
                parameter.sub_((found * (_LENGTH / length)).to(parameter.dtype))
    first = next(each for each in names if each in still)
    message = f'{name}: "{first}" has no gradient within two steps: it would be noised, and learn nothing'
    raise TaskError(
        message, hint="freeze it, or have the loss depend on it; make adapters last, on the right device"
    )


def _summed(trial: Trial, model: nn.Module, seed: int) -> list[Tensor]:
    """The gradient of each trained tensor over a few records, in float64: held beside that of one record."""
    totals = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in trained(model).values()]
    of_one = one_of(model, trial.loss)
    for record in zip(*(torch.split(each, 1) for each in trial.records(_RECORDS, seed)), strict=True):
        for total, found in zip(totals, of_one(*record), strict=True):
            total.add_(found)
    return totals
