"""Any model that torch can vectorize, at many sites: `vmap` over `grad`, by `torch.func`. `dense` is held to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from clients.training.per_example import losses_of
from clients.training.sums import MEMORY
from federation.model.params import Layout
from federation.model.task import Task
from privacy.mechanism.clipping import clip_rows
from simulations.cohort.nets import Batch, Net

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
        self._each_site = vmap(grad(loss), randomness="different")
        self._each_record = vmap(grad(loss), in_dims=(None, 0, 0, 0), randomness="different")
        self.weights, self.start = [], []

    def begin(self, params: Tensor, sites: int) -> None:
        self.start = [params[None]]
        self.weights = [params.expand(sites, -1).clone()]

    def gradients(self, batch: Batch) -> list[Tensor]:
        if batch.labels.shape[1] == 0:
            return [torch.zeros_like(self.weights[0])]
        return [_quietly(self._each_site, self.weights[0], batch.features, batch.labels, batch.weights)]

    def clipped(self, batch: Batch, norm: float) -> list[Tensor]:
        total = torch.zeros_like(self.weights[0])
        at_once = max(1, MEMORY // (4 * total.shape[1] * total.element_size()))
        for site in range(len(total)):
            places = torch.nonzero(batch.weights[site] > 0)[:, 0]
            owners = None if batch.units is None else _owners(batch, site)
            total[site] = self._clipped(batch, site, places, owners, norm, at_once)
        return [total]

    def _clipped(
        self, batch: Batch, site: int, places: Tensor, owners: Tensor | None, norm: float, at_once: int
    ) -> Tensor:
        weight, total = self.weights[0][site], torch.zeros_like(self.weights[0][site])
        sums = (
            None
            if owners is None
            else total.new_zeros((int(owners.max()) + 1 if len(owners) else 0, len(total)))
        )
        ones = torch.ones_like(batch.weights[site])
        for start in range(0, len(places), at_once):
            part = places[start : start + at_once]
            records = (each[site][part][:, None] for each in (batch.features, batch.labels))
            rows = _quietly(self._each_record, weight, *records, ones[part][:, None])
            if sums is None or owners is None:
                total += clip_rows(rows, norm).sum(dim=0)
                continue
            rows = torch.where(torch.isfinite(rows).all(dim=1, keepdim=True), rows, torch.zeros_like(rows))
            sums.index_add_(0, owners[start : start + at_once], rows)
        return total if sums is None else clip_rows(sums, norm).sum(dim=0)

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


def _owners(batch: Batch, site: int) -> Tensor:
    """The patient of each record of a site, numbered from 0, in the order of its places."""
    assert batch.places is not None
    assert batch.units is not None
    width = batch.labels.shape[1]
    own = torch.div(batch.places, width, rounding_mode="floor") == site
    return torch.unique(batch.units[own], return_inverse=True)[1]


def _quietly(code: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")  # but it is computed
        return code(*arguments)
