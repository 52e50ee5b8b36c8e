"""Local training: a few steps of an optimizer on Poisson batches, from global params to a delta.

One loop serves every kind of plan. What differs is passed in: how a batch becomes a summed gradient (plainly,
or record by record with clipping), and what happens to the sum before the optimizer sees it (nothing, or
noise). The denominator is the expected batch, sample rate times the size the site declared in public, since the
sizes of a batch and of the data are private.

What leaves the loop is a function of what `finish` let through, and of nothing else: the position is a vector of
the loop's own, written into the model before every step and never read back from it. A second optimizer in the
task's code, or a layer that moves its own parameters, moves a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from clients.training.frozen import is_large
from clients.training.isolation import Tally, apart
from clients.training.per_example import Loss, losses_of
from clients.training.places import HERE, PLAINLY, Compute, Place, twin_of
from clients.training.steps import Steps
from federation.config.tables import Training
from federation.model.base import trained
from federation.model.task import Dataset, weighed
from privacy.mechanism.noise import Stream, poisson_sample

_AT_ONCE = 64  # records at once through a large base, whose activations fill the memory
_LOOKED_AT = 2**20  # numbers
Finish = Callable[[Tensor], Tensor]  # a summed gradient -> what the optimizer may see of it


class Gradient(Protocol):
    """A batch to its summed gradient, flat (d,); `patients` only where patients are what is protected."""

    def __call__(self, features: Tensor, labels: Tensor, patients: Tensor | None = None, /) -> Tensor:
        """`features` (n, ...), `labels` (n,), `patients` (n,) numbers from 0."""


def plain_gradient(
    model: nn.Module,
    loss: Loss,
    tally: Tally | None = None,
    class_weights: Sequence[float] = (),
    place: Place = HERE,
) -> Gradient:
    """`(features, labels) -> sum of gradients`, by one backward pass, without any protection.

    Records on which the code raises, or whose gradient is not finite, are left out and counted in `tally`. NaN
    where the parameters are not finite: training has diverged, and that is no record's doing. What a record counts
    follows from its label.
    """
    parameters, counted = list(trained(model).values()), Tally() if tally is None else tally
    length, like = sum(parameter.numel() for parameter in parameters), parameters[0].detach()
    twin = twin_of(model, place)
    at_once = _AT_ONCE if is_large(model) else None if twin is None else PLAINLY

    def summed(own: nn.Module) -> Compute[Tensor]:
        moved = list(trained(own).values())

        def found(features: Tensor, labels: Tensor) -> Tensor:
            losses = losses_of(own, loss, features, labels)
            if class_weights:
                losses = losses * weighed(labels, class_weights, losses)
            return torch.cat([grad.reshape(-1) for grad in torch.autograd.grad(losses.sum(), moved)])

        return found

    compute = summed(model) if twin is None else twin.first(summed(twin.model), summed(model))

    def gradient(features: Tensor, labels: Tensor, _: Tensor | None = None) -> Tensor:
        def piece(places: Tensor) -> Tensor:
            found = compute(features[places], labels[places])
            if found.shape != (length,) or not is_finite(found):
                raise ArithmeticError
            return found

        if not all(is_finite(parameter.detach()) for parameter in parameters):
            return like.new_full((length,), torch.nan)
        found = list(apart(piece, len(labels), counted, at_once))
        return sum(found[1:], found[0]) if found else like.new_zeros(length)

    return gradient


def is_finite(numbers: Tensor) -> bool:
    """Whether all of these are: looked at in parts, so that nothing as long as they is made."""
    return all(bool(torch.isfinite(part).all()) for part in torch.split(numbers.reshape(-1), _LOOKED_AT))


def poisson_batch(data: Dataset, rate: float, stream: Stream) -> Dataset:
    """Every record by itself with probability `rate`, decided by a secret stream; with patients, every patient."""
    return data.at(poisson_rows(data, rate, stream))


def poisson_rows(data: Dataset, rate: float, stream: Stream) -> Tensor:
    """The rows of such a batch, in order."""
    if data.patients is None:
        return torch.from_numpy(poisson_sample(stream, len(data.labels), rate))
    ids, place = torch.unique(data.patients, return_inverse=True)
    drawn = torch.zeros(len(ids), dtype=torch.bool)
    drawn[torch.from_numpy(poisson_sample(stream, len(ids), rate))] = True
    return torch.nonzero(drawn[place])[:, 0]


def poisson_batches(data: Dataset, rate: float, stream: Stream) -> Iterator[Dataset]:
    """One batch after the other, without end."""
    while True:
        yield poisson_batch(data, rate, stream)


def made_up(like: Dataset, count: int, seed: int = 0) -> Dataset:
    """Synthetic records that share the shape of the data and nothing else: safe to try and to measure.

    Features in [0, 1), or 0 and 1 where they are whole numbers; labels 0 and 1; every record a patient's only one.
    """
    generator = torch.Generator().manual_seed(seed)
    shape, dtype = (count, *like.features.shape[1:]), like.features.dtype
    if like.features.is_floating_point():
        features = torch.rand(shape, generator=generator, dtype=torch.float64).to(dtype)
    else:
        features = torch.randint(0, 2, shape, generator=generator).to(dtype)
    labels = torch.randint(0, 2, (count, *like.labels.shape[1:]), generator=generator).to(like.labels.dtype)
    return Dataset(features, labels, None if like.patients is None else torch.arange(count))


def local_delta(
    model: nn.Module,
    data: Dataset,
    training: Training,
    size: int,
    stream: Stream,
    gradient: Gradient,
    finish: Finish,
    rows: Iterable[Tensor] | None = None,
    *,
    wide: bool = False,
    sent: Tensor | None = None,
) -> Tensor:
    """Train from the present params of `model`; return the change, flat float64: params after minus before.

    `size` is the declared number of records, or of patients where those are drawn; `model` starts at the round's
    params. `rows` are those of each step's batch, where they were drawn from `stream` before. `wide`: the position
    is in float64, whatever the model computes in. `sent`: the params that the model was given, which are not copied
    once more.
    """
    parameters = list(trained(model).values())
    position = parameters_to_vector(parameters).detach().clone()
    dtype = position.dtype
    if wide:
        position = position.to(torch.float64)
    is_sent = sent is not None and sent.dtype == position.dtype and torch.equal(sent, position)
    before = sent if sent is not None and is_sent else position.clone()
    steps = Steps(training, position)
    expected = training.sample_rate * size
    batches = poisson_batches(data, training.sample_rate, stream) if rows is None else map(data.at, rows)
    for batch in islice(batches, training.local_steps):
        vector_to_parameters(position.to(dtype, copy=True), parameters)
        mean = finish(gradient(batch.features, batch.labels, batch.patients)) / expected
        if training.proximal is not None:  # of what was released already: the position, and where it began
            mean = mean + training.proximal * (position.to(torch.float64) - before)
        steps.step(mean.to(position.dtype))
        del mean, batch
    return position.to(torch.float64).sub_(before)
