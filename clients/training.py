"""Local training: a few steps of an optimizer on Poisson batches, from global params to a delta.

One loop serves every kind of plan. What differs is passed in: how a batch becomes a summed gradient (plainly,
or record by record with clipping), and what happens to the sum before the optimizer sees it (nothing, or
noise). The denominator is the expected batch, sample rate times the size the site declared in public, since the
size of a batch, like that of the data, is private.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from federation.plan import Training
from federation.task import Dataset
from privacy.noise import Stream, poisson_sample

Gradient = Callable[[Tensor, Tensor], Tensor]  # features, labels -> summed gradient, flat
Finish = Callable[[Tensor], Tensor]  # a summed gradient -> what the optimizer may see of it


def plain_gradient(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor]) -> Gradient:
    """`(features, labels) -> sum of gradients`, by one backward pass, without any protection."""
    parameters = list(model.parameters())

    def gradient(features: Tensor, labels: Tensor) -> Tensor:
        if len(labels) == 0:
            return torch.zeros(sum(parameter.numel() for parameter in parameters), dtype=parameters[0].dtype)
        grads = torch.autograd.grad(loss(model(features), labels).sum(), parameters)
        return torch.cat([grad.reshape(-1) for grad in grads])

    return gradient


def poisson_batch(data: Dataset, rate: float, stream: Stream) -> Dataset:
    """Every record by itself with probability `rate`, decided by a secret stream."""
    chosen = torch.from_numpy(poisson_sample(stream, len(data.labels), rate))
    return Dataset(data.features[chosen], data.labels[chosen])


def local_delta(
    model: nn.Module,
    data: Dataset,
    training: Training,
    size: int,
    stream: Stream,
    gradient: Gradient,
    finish: Finish,
) -> Tensor:
    """Train `model` in place; return what changed, flat float64: the params after minus before.

    `size` is the declared number of records; `model` starts at the round's params.
    """
    before = _flat(model)
    optimizer = _optimizer(training, model)
    expected = training.sample_rate * size
    for _ in range(training.local_steps):
        batch = poisson_batch(data, training.sample_rate, stream)
        mean = finish(gradient(batch.features, batch.labels)) / expected
        _set_gradient(model, mean)
        optimizer.step()
    return _flat(model) - before


def _flat(model: nn.Module) -> Tensor:
    return parameters_to_vector(model.parameters()).detach().to(torch.float64).clone()


def _set_gradient(model: nn.Module, gradient: Tensor) -> None:
    start = 0
    for parameter in model.parameters():
        piece = gradient[start : start + parameter.numel()]
        parameter.grad = piece.view_as(parameter).to(parameter.dtype)
        start += parameter.numel()


def _optimizer(training: Training, model: nn.Module) -> torch.optim.Optimizer:
    kinds: dict[str, type[torch.optim.Optimizer]] = {
        "sgd": torch.optim.SGD,
        "adam": torch.optim.Adam,
        "rmsprop": torch.optim.RMSprop,
    }
    return kinds[training.optimizer](model.parameters(), lr=training.learning_rate)  # type: ignore[call-arg]
