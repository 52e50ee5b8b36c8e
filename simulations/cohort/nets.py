"""What a way of training many sites at once has to offer: `dense` and `general` do.

Weights, gradients and starts are lists of tensors with the sites first, in the way's own order and layout. Only
`rows` and `parts` know the flat form (k, d) in which params travel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clients.training.sums import MEMORY
from federation.model.task import weighed
from privacy.mechanism.clipping import clip_rows
from simulations.cohort.batches import Drawn, Stack
from simulations.cohort.plain import Plain


@dataclass(frozen=True)
class Batch:
    """Padded batches of k sites in blocks: `features` (i, b, ...), `labels` and `weights` (i, b), 0 for padding.

    The first k blocks are the sites' own; the sites of further ones are `owners` (e,). For every record, `places`
    (m,) is where it is among the i b rows, `sites` (m,) whose it is, and `units` (m,) its patient, where patients
    are what is clipped.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor
    drawn: Drawn

    @property
    def owners(self) -> Tensor:
        """The sites of further blocks."""
        return torch.from_numpy(self.drawn.owners).to(self.weights.device)

    @property
    def places(self) -> Tensor:
        """Of every record, among the rows of all blocks."""
        return torch.from_numpy(self.drawn.places).to(self.weights.device)

    @property
    def sites(self) -> Tensor:
        """Of every record."""
        return torch.from_numpy(self.drawn.sites).to(self.weights.device)

    @property
    def units(self) -> Tensor | None:
        """The patient of every record, if patients are clipped."""
        return (
            None if self.drawn.units is None else torch.from_numpy(self.drawn.units).to(self.weights.device)
        )


def batch_of(stack: Stack, drawn: Drawn, dtype: torch.dtype, class_weights: Sequence[float] = ()) -> Batch:
    """The records that were drawn, in blocks. A record weighs what was drawn for it, times what its class does."""
    device, width = stack.features.device, drawn.width
    rows = torch.from_numpy(drawn.padded).to(device)
    features, labels = stack.features.index_select(0, rows), stack.labels.index_select(0, rows)
    if features.is_floating_point():
        features = features.to(dtype)
    weights = torch.from_numpy(drawn.weights).to(device)
    if class_weights:
        weights = weights * weighed(labels, class_weights, weights)
    return Batch(
        features.view(-1, width, *features.shape[1:]),
        labels.view(-1, width, *labels.shape[1:]),
        weights.view(-1, width),
        drawn,
    )


class Net(ABC):
    """A model at k sites at once, each with params of its own."""

    weights: list[Tensor]
    start: list[Tensor]
    plain: Plain | None = None  # for plain SGD on a processor, where this way has it quicker

    @abstractmethod
    def begin(self, params: Tensor, sites: int) -> None:
        """Every site at the flat params (d,), in their dtype."""

    @abstractmethod
    def gradients(self, batch: Batch) -> list[Tensor]:
        """The sums over each site's records of weight times gradient."""

    def still(self, params: Tensor, sites: int) -> None:
        """The same for one gradient: the params of the sites are not moved."""
        self.begin(params, sites)

    @abstractmethod
    def clipped(self, batch: Batch, norm: float, out: Tensor) -> Tensor:
        """The sums over each site's records, or patients, of clipped gradients, as rows of the flat form in `out`.

        Those not finite are left out.
        """

    @abstractmethod
    def rows(self, parts: Sequence[Tensor], out: Tensor) -> Tensor:
        """The parts as rows of the flat form, in `out` (k, d)."""

    @abstractmethod
    def parts(self, rows: Tensor) -> list[Tensor]:
        """Rows of the flat form (k, d) as parts."""


def with_copies(weights: Sequence[Tensor], batch: Batch) -> Sequence[Tensor]:
    """Weights (k, ...) for all blocks: those of further ones are copies of their sites'."""
    owners = batch.owners
    return [torch.cat([weight, weight[owners]]) for weight in weights] if len(owners) else weights


def joined(parts: Sequence[Tensor], batch: Batch, sites: int) -> list[Tensor]:
    """Sums of all blocks (i, ...) as sums of sites (k, ...)."""
    if len(batch.drawn.owners) == 0:
        return list(parts)
    return [part[:sites].index_add_(0, batch.owners, part[sites:]) for part in parts]


def clipped_rows(rows: Callable[[slice], Tensor], batch: Batch, norm: float, zeros: Tensor) -> Tensor:
    """The sums (k, d) by site of clipped rows: of all records, or of patients where the batch has any.

    A record's row counts what it weighs: after it was clipped, or before its patient is. Records are made a part at
    a time. A record whose row is not finite is left out, as is a patient whose sum is
    not: the same as at a site (`clients.training.sums`).
    """
    sites, units, weights = batch.sites, batch.units, batch.weights.flatten()[batch.places][:, None]
    at_once = max(1, MEMORY // max(1, 4 * zeros.shape[1] * zeros.element_size()))
    parts = [slice(start, start + at_once) for start in range(0, len(sites), at_once)]
    if units is None:
        for part in parts:
            zeros.index_add_(0, sites[part], clip_rows(rows(part), norm).mul_(weights[part]))
        return zeros
    people, owners = torch.unique(units, return_inverse=True)
    sums = zeros.new_zeros((len(people), zeros.shape[1]))
    for part in parts:
        found = rows(part)
        found[~torch.isfinite(found).all(dim=1)] = 0.0
        sums.index_add_(0, owners[part], found * weights[part])
    whose = sites.new_zeros(len(people)).index_copy_(0, owners, sites)
    return zeros.index_add_(0, whose, clip_rows(sums, norm))
