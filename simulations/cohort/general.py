"""Any model that torch can vectorize, at many sites: `vmap` over `grad`, by `torch.func`. `dense` is held to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from clients.training.per_example import losses_of
from federation.model.params import Layout
from federation.model.task import Task
from simulations.cohort.nets import Batch, Net, clipped_rows, joined, with_copies

_Flat = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class General(Net):
    """A task's model at k sites: `weights` is one tensor, (k, d)."""

    def __init__(self, task: Task, device: torch.device, dtype: torch.dtype) -> None:
        model = task.model().to(device, dtype).train()
        layout = Layout(
            *zip(*((name, tuple(each.shape)) for name, each in model.named_parameters()), strict=True)
        )
        self.size = layout.dimension
        loss = _flat_loss(model, task, layout)
        self._each = vmap(grad(loss), randomness="different")
        self.weights, self.start = [], []

    def begin(self, params: Tensor, sites: int) -> None:
        self.start = [params[None]]
        self.weights = [params.expand(sites, -1).clone()]

    def gradients(self, batch: Batch) -> list[Tensor]:
        (weights,) = with_copies(self.weights, batch)
        found = _quietly(self._each, weights, batch.features, batch.labels, batch.weights)
        return joined([found], batch, len(self.weights[0]))

    def clipped(self, batch: Batch, norm: float, out: Tensor) -> Tensor:
        places, sites, weights = batch.places, batch.sites, self.weights[0]
        features, labels = batch.features.flatten(0, 1), batch.labels.flatten(0, 1)
        ones = weights.new_ones((len(places), 1))

        def rows(part: slice) -> Tensor:
            records = features[places[part]][:, None], labels[places[part]][:, None]
            return _quietly(self._each, weights[sites[part]], *records, ones[part])

        return clipped_rows(rows, batch, norm, out.zero_())

    def rows(self, parts: Sequence[Tensor], out: Tensor) -> Tensor:
        return out.copy_(parts[0])

    def parts(self, rows: Tensor) -> list[Tensor]:
        return [rows.clone()]


def _flat_loss(model: nn.Module, task: Task, layout: Layout) -> _Flat:
    sizes = [prod(shape) for shape in layout.shapes]

    def total(flat: Tensor, features: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        pieces = zip(layout.names, torch.split(flat, sizes), layout.shapes, strict=True)
        params = {name: piece.view(shape) for name, piece, shape in pieces}

        def called(batch: Tensor) -> Tensor:
            outputs: Tensor = functional_call(model, params, (batch,))
            return outputs

        return (losses_of(called, task.loss, features, labels) * weights).sum()

    return total


def _quietly(code: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")  # but it is computed
        return code(*arguments)
