"""What a way of training many sites at once has to offer: `dense` and `general` do.

Weights, gradients and starts are lists of tensors with the sites first, in the way's own order and layout. Only
`rows` and `parts` know the flat form (k, d) in which params travel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from federation.config.tables import Training


@dataclass(frozen=True)
class Batch:
    """Padded batches: `features` (k, b, ...), `labels` (k, b), and `weights` (k, b), 0 for what is padded.

    `units` (m,) and `places` (m,) are the patient and the place among the k b rows of every record, where patients
    are what is clipped.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor
    places: Tensor | None = None
    units: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        parts = (self.features, self.labels, self.weights, self.places, self.units)
        return Batch(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]


class Net(ABC):
    """A model at k sites at once, each with params of its own."""

    weights: list[Tensor]
    start: list[Tensor]

    @abstractmethod
    def begin(self, params: Tensor, sites: int) -> None:
        """Every site at the flat params (d,), in their dtype."""

    @abstractmethod
    def gradients(self, batch: Batch) -> list[Tensor]:
        """The sums over each site's records of weight times gradient."""

    @abstractmethod
    def clipped(self, batch: Batch, norm: float) -> list[Tensor]:
        """The sums over each site's records, or patients, of clipped gradients. Those not finite are left out."""

    @abstractmethod
    def rows(self, parts: Sequence[Tensor], out: Tensor) -> Tensor:
        """The parts as rows of the flat form, in `out` (k, d)."""

    @abstractmethod
    def parts(self, rows: Tensor) -> list[Tensor]:
        """Rows of the flat form (k, d) as parts."""

    def descend(self, batch: Batch, training: Training) -> bool:
        """One plain step of SGD at once, if this way has one; False if nothing was done."""
        del batch, training
        return False
