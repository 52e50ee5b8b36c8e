"""Models that arithmetic bounds, such as convolutions: one model for all sites in turn, which keeps its memory.

Many convolutions at once are no faster than one after the other, so this adds as little as it can to them: images
lie as (n, height, width, channels), in which torch convolves and pools fastest; a flattened image is never turned
around again, since the layer behind it has its weights in that order; and under plain SGD a linear layer's weights
are stepped within the backward pass, without a gradient as large as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.training.isolation import draws_apart, seeded
from clients.training.known import is_known
from federation.config.tables import Training
from federation.model.task import Dataset, Task, weighed
from simulations.cohort.descent import Descent
from simulations.cohort.heap import keep_memory
from simulations.cohort.layers import chain_of


class _Stepped(torch.autograd.Function):
    """A linear layer whose weights take their step as soon as their gradient is known."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, rate: float) -> Tensor:
        ctx.seen = inputs, weight, bias, rate
        return functional.linear(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, back: Tensor) -> tuple[Tensor | None, None, None, None]:
        inputs, weight, bias, rate = ctx.seen
        ctx.seen = None
        further = back.mm(weight) if ctx.needs_input_grad[0] else None
        weight.addmm_(back.t(), inputs, alpha=-rate)
        if bias is not None:
            bias.sub_(back.sum(0), alpha=rate)
        return further, None, None, None


class Turns:
    """A chain of torch's layers, trained at one site after the other.

    TypeError for any other model: its own code may do what this does not expect.
    """

    def __init__(self, task: Task, like: Dataset) -> None:
        keep_memory()
        self._loss, self._class_weights, model = task.loss, task.class_weights, task.model().train()
        self._chain = list(chain_of(model))
        if not is_known(model) or len(set(self._chain)) < len(self._chain):
            raise TypeError("a model that is no chain of torch's layers is trained by the sites' own code")
        self._images = _images(self._chain, like.features)
        tensors = [(each, layer) for layer in self._chain for each in layer.parameters()]
        for each, _ in tensors:
            if each.dim() == 4:
                each.data = each.data.contiguous(memory_format=torch.channels_last)
        self._tensors = [
            (each, self._images.get(layer) if each.dim() == 2 else None) for each, layer in tensors
        ]
        self._drops = {layer for layer in self._chain if type(layer) is nn.Dropout and 0 < layer.p < 1}
        first = next((n for n, layer in enumerate(self._chain) if _has_other(layer)), len(self._chain))
        self._start: list[Tensor] = []
        self._stepped = {layer for layer in self._chain[first:] if type(layer) is nn.Linear}

    @torch.no_grad()
    def begin(self, params: Tensor) -> None:
        """A round begins at these params (d,), which are kept in the model's own order."""
        pieces = torch.split(params.detach(), [each.numel() for each, _ in self._tensors])
        self._start = [each.detach().clone() for each, _ in self._tensors]
        for (_, image), kept, piece in zip(self._tensors, self._start, pieces, strict=True):
            _in_order(kept, image).copy_(piece.view(_in_order(kept, image).shape))

    @property
    def draws(self) -> bool:
        """Whether there is chance in a step: dropout, which draws as it does at the site with the same seed."""
        return bool(self._drops)

    def update(
        self, batches: Iterable[Dataset], training: Training, expected: float, seed: int = 0
    ) -> Tensor:
        """What training changed at a site, (d,) float64. `seed` is that of the site's coins, if it draws any.

        It is not finite where a site's own code has to say what becomes of a record.
        """
        with seeded(seed) if self.draws else nullcontext():
            if self.draws:
                with draws_apart():  # a site makes a model first
                    pass
            return self._updated(batches, training, expected)

    def _updated(self, batches: Iterable[Dataset], training: Training, expected: float) -> Tensor:
        with torch.no_grad():
            for (each, _), kept in zip(self._tensors, self._start, strict=True):
                each.copy_(kept)
        plain = (training.optimizer, training.momentum, training.proximal) == ("sgd", None, None)
        stepped = self._stepped if plain else set()
        inside = {id(each) for layer in stepped for each in layer.parameters()}
        weights: list[Tensor] = [each for each, _ in self._tensors if id(each) not in inside]
        for each, _ in self._tensors:
            each.requires_grad_(id(each) not in inside)
        start = [
            kept for (each, _), kept in zip(self._tensors, self._start, strict=True) if id(each) not in inside
        ]
        descent = Descent(training, weights, start)
        for batch in batches:
            with draws_apart() if self.draws and len(batch) else nullcontext():
                outputs = self._called(batch.features, stepped, training.learning_rate)
            losses = self._loss(outputs, batch.labels)
            if self._class_weights:
                losses = losses * weighed(batch.labels, self._class_weights, losses)
            gradients = torch.autograd.grad(losses.sum() / expected, weights)
            with torch.no_grad():
                descent.step(gradients)
        return self._moved()

    def _called(self, features: Tensor, stepped: Set[nn.Module], rate: float) -> Tensor:
        seen = features.contiguous(memory_format=torch.channels_last) if features.dim() == 4 else features
        for number, layer in enumerate(self._chain):
            if layer in stepped:
                seen = _Stepped.apply(seen, layer.weight, layer.bias, rate)  # type: ignore[no-untyped-call]
            elif number + 1 < len(self._chain) and self._chain[number + 1] in self._images:
                seen = seen.permute(0, 2, 3, 1).flatten(1)
            elif layer in self._drops:
                seen = seen * _kept(seen, layer.p)
            else:
                seen = layer(seen)
        return seen

    @torch.no_grad()
    def _moved(self) -> Tensor:
        """How far the model is from the round's params."""
        sizes = [each.numel() for each, _ in self._tensors]
        out, place = torch.empty(sum(sizes), dtype=torch.float64), 0
        for (each, image), kept in zip(self._tensors, self._start, strict=True):
            whole = _in_order(each.sub_(kept), image)
            out[place : place + each.numel()].view(whole.shape).copy_(whole)
            place += each.numel()
        return out


def _kept(like: Tensor, share: float) -> Tensor:
    """What dropout multiplies with: drawn in torch's own order, and then laid as the values are."""
    mask = torch.empty(like.shape, dtype=like.dtype).bernoulli_(1 - share).div_(1 - share)
    return mask.contiguous(memory_format=torch.channels_last) if like.dim() == 4 else mask


def _in_order(tensor: Tensor, image: tuple[int, ...] | None) -> Tensor:
    """A view of a parameter in torch's own order, whatever it has in memory."""
    if image is None:
        return tensor.detach()
    return tensor.detach().view(-1, *image[1:], image[0]).permute(0, 3, 1, 2)


def _has_other(layer: nn.Module) -> bool:
    return type(layer) is not nn.Linear and any(True for _ in layer.parameters())


@torch.no_grad()
def _images(chain: Sequence[nn.Module], features: Tensor) -> dict[nn.Module, tuple[int, ...]]:
    """The linear layers that see a flattened image, and its (channels, height, width)."""
    found: dict[nn.Module, tuple[int, ...]] = {}
    seen = torch.zeros(1, *features.shape[1:], dtype=features.dtype)
    for layer, follows in zip(chain, [*chain[1:], None], strict=True):
        whole = type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)
        if whole and seen.dim() == 4 and type(follows) is nn.Linear:
            found[follows] = tuple(seen.shape[1:])
        seen = layer(seen)
    return found
