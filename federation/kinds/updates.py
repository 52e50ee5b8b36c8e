"""Kinds that add no noise to an update: it is plain, or DP-SGD noised each of its steps."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from federation.kinds.base import Kind, Parties, Work, grid, on_grid
from privacy.accounting.events import Event, NonPrivateEvent
from privacy.errors import UnsafeParameters
from privacy.mechanism.noise import SIGMA, Stream

if TYPE_CHECKING:
    from torch import Tensor

    from privacy.mechanism.encoding import Codec, RingVector

_BOUND = 16.0  # largest magnitude of a coordinate
_BITS = 24


@dataclass(frozen=True)
class FixedPoint(Kind):
    """An update that needs no further noise: rounded by secret coins, so that a mean over many has no bias."""

    def codec(self, parties: Parties) -> Codec:
        """24 bits for coordinates up to 16."""
        from privacy.mechanism.encoding import Codec

        limit = 1 << (_BITS - 1)
        return Codec(_BOUND / limit, limit, headroom=0, cohort=len(parties.sizes))

    def contribute(
        self, parties: Parties, site: str, work: Work, stream: Stream, excess: Sequence[Stream] = ()
    ) -> RingVector:
        """The update times the site's weight. No noise is added here, and none can be taken out."""
        codec, delta = self.codec(parties), self.update(parties, work, stream)
        return codec.to_ring(codec.encode(delta * self.weight(parties, site), stream.derive("rounding")))

    def excess(self, parties: Parties, lost: int, streams: Sequence[Stream]) -> RingVector:
        """UnsafeParameters: no noise is added to an update."""
        raise UnsafeParameters("an update without noise has no excess")

    @abstractmethod
    def update(self, parties: Parties, work: Work, stream: Stream) -> Tensor:
        """What training changed."""

    def released(self, parties: Parties, total: RingVector, stream: Stream) -> Tensor:
        """The decoded sum."""
        codec = self.codec(parties)
        return codec.decode(codec.from_ring(total))

    def sum_variance(self, parties: Parties, survivors: int, reduced: int = 0) -> float:
        """Zero: the sum gets no noise of its own."""
        return 0.0


@dataclass(frozen=True)
class PlainUpdate(FixedPoint):
    """What training changed, as it is: `noise = "none"` promises nothing."""

    @property
    def noise_text(self) -> str:
        """Empty: there is no noise."""
        return ""

    @property
    def event(self) -> Event:
        """An event without any bound."""
        return NonPrivateEvent()

    def update(self, parties: Parties, work: Work, stream: Stream) -> Tensor:
        """What training changed."""
        return work.update()


@dataclass(frozen=True)
class NoisedSteps(FixedPoint):
    """What DP-SGD steps at a site changed: each step is a release, its noise is added at the site."""

    @property
    def releases_per_round(self) -> int:
        """One for each local step."""
        return self.rules.training.local_steps

    @property
    def knows_its_noise(self) -> bool:
        """For SGD, which is linear."""
        return self.rules.training.optimizer == "sgd"

    def bound(self, parties: Parties) -> float:
        """Largest magnitude of one coordinate of a step's clipped sum."""
        return self._largest_batch_norm(parties)

    def step_codec(self, parties: Parties) -> Codec:
        """The grid on which a site noises one step."""
        return grid(self.mechanism(parties), self.bound(parties), cohort=1)

    def update(self, parties: Parties, work: Work, stream: Stream) -> Tensor:
        """Each step's clipped sum is put on the grid and noised before the local optimizer sees it."""
        mechanism, codec = self.mechanism(parties), self.step_codec(parties)
        noise = stream.derive("noise")
        return work.noised_update(
            mechanism.clipping_norm,
            lambda total: codec.decode(on_grid(codec, total) + mechanism.noise(noise)),
        )

    def noise_variance(self, parties: Parties, survivors: Collection[str], reduced: int = 0) -> float:
        """The variance of all steps of all survivors, as SGD carries it into their updates."""
        training = self.rules.training
        weights = {site: self.weight(parties, site) for site in survivors}
        scales = (
            weights[site] * training.learning_rate / (training.sample_rate * parties.sizes[site])
            for site in survivors
        )
        each = math.fsum(scale * scale for scale in scales) * training.local_steps
        deviation, whole = SIGMA * self.mechanism(parties).step, math.fsum(weights.values())
        return deviation * deviation * each / (whole * whole)
