"""Kinds that noise a sum once: a sum of clipped gradients, or of updates that were clipped as a whole."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from federation.config.schema import Mistake
from federation.kinds.allowed import Span
from federation.kinds.base import (
    Draws,
    Kind,
    Parties,
    Rows,
    Work,
    Works,
    grid,
    once,
    parts_of,
    sum_on_grid,
)
from federation.kinds.noised import Blocks, noised
from privacy.mechanism.noise import VARIANCE, Stream

if TYPE_CHECKING:
    from torch import Tensor

    from privacy.mechanism.encoding import Codec, Integers, RingVector


@dataclass(frozen=True)
class NoisedSum(Kind):
    """A clipped vector of each site, whose sum over the cohort is noised: by shares, at each site, or centrally."""

    @abstractmethod
    def bound(self, parties: Parties) -> float:
        """Largest magnitude of one coordinate of one site's clipped vector."""

    @abstractmethod
    def clipped(self, parties: Parties, site: str, work: Work) -> Tensor:
        """One site's vector before noise: with or without one unit, it moves by at most the clipping norm."""

    def clipped_rows(self, parties: Parties, sites: Sequence[str], works: Works) -> Rows:
        """`clipped` of each of these sites, for a process that plays them all: here, one after the other."""
        for place, site in enumerate(sites):
            yield slice(place, place + 1), self.clipped(parties, site, works.alone(place))[None]

    def reach(self, parties: Parties, site: str) -> float:
        """Largest L2 norm of one site's clipped vector: here, what `bound` of every coordinate makes of it.

        A site projects its vector into this ball before it adds noise, and the opened sum is checked against it.
        """
        return self.bound(parties) * math.sqrt(self.length(parties))

    def span(self, parties: Parties, survivors: Collection[str]) -> Span:
        """Vectors in their balls, each coordinate rounded by at most half a step, and the noise of all shares."""
        step, length = self.codec(parties).step, self.length(parties)
        spans = []
        for site in survivors:
            reach = self.reach(parties, site)
            coordinate = min(reach, self.bound(parties)) + step / 2
            spans.append(Span.around(coordinate, reach + math.sqrt(length) * step / 2))
        return Span.sum_of(spans).noised(math.sqrt(self.sum_variance(parties, len(survivors))))

    @once
    def codec(self, parties: Parties) -> Codec:
        """The grid on which the noise is whole numbers, with room for all of it."""
        mechanism = self.mechanism(parties)
        share = self.levels(parties).most(mechanism.width) if self._is_distributed else None
        return grid(mechanism, self.bound(parties), len(parties.sizes), share)

    def prepare(self, parties: Parties) -> None:
        """The tables of the noise, too: one draw makes them, and is thrown away."""
        super().prepare(parties)
        stream = Stream(os.urandom(32))
        if self._is_central:
            self.mechanism(parties).noise(stream)
        else:
            self._noise(parties, stream, len(parties.sizes), 0)

    def contribute(
        self, parties: Parties, site: str, work: Work, stream: Stream, excess: Sequence[Stream] = ()
    ) -> RingVector:
        """The clipped vector with this site's noise on it: with streams of excess parts, in parts."""
        mechanism, noises = self.mechanism(parties), list[Blocks]()
        clipped = self.clipped(parties, site, work)
        if not self._is_central:
            parts = self.levels(parties).parts if excess else (VARIANCE,)
            sources = (stream.derive("noise"), *excess)
            noises = [mechanism.noise_blocks(*each) for each in zip(sources, parts, strict=True)]
        return noised(self.codec(parties), clipped, self.reach(parties, site), noises)

    def summed(
        self, parties: Parties, sites: Sequence[str], works: Works, draws: Draws, lost: int
    ) -> RingVector:
        """The clipped vectors on the grid, added up, and the noise of all shares as one draw."""
        codec = self.codec(parties)
        total, reaches = np.zeros(self.length(parties), np.int64), self._reaches(parties, tuple(sites))
        for places, rows in parts_of(self.clipped_rows(parties, sites, works)):
            total += sum_on_grid(codec, rows, reaches[places])
        if not self._is_central:
            total += self._noise(parties, draws.noise, len(sites), lost)
        return codec.to_ring(total)

    def _noise(self, parties: Parties, stream: Stream, shares: int, lost: int) -> Integers:
        """So many shares of it at once, of each of which a sum that lost so many leaves a part."""
        levels = self.levels(parties)
        variance = levels.left[levels.level(lost)] if levels.secrets else VARIANCE
        return self.mechanism(parties).noise_of(stream, shares, variance)

    @once
    def _reaches(self, parties: Parties, sites: tuple[str, ...]) -> list[float]:
        return [self.reach(parties, site) for site in sites]

    def excess_blocks(self, parties: Parties, lost: int, streams: Sequence[Stream]) -> Iterator[Integers]:
        """The parts above the level of a sum that lost so many, drawn again."""
        levels, mechanism = self.levels(parties), self.mechanism(parties)
        parts = levels.parts[levels.level(lost) + 1 :]
        drawn = [mechanism.noise_blocks(*each) for each in zip(streams, parts, strict=True)]
        return (sum(blocks[1:], blocks[0]) for blocks in zip(*drawn, strict=True))

    def with_noise(self, parties: Parties, total: RingVector, stream: Stream) -> RingVector:
        """Central noise; the ring has room for more of it."""
        if not self._is_central:
            return total
        codec = self.codec(parties)
        return codec.to_ring(codec.from_ring(total) + self.mechanism(parties).noise(stream))

    def sum_variance(self, parties: Parties, survivors: int, reduced: int = 0) -> float:
        """One share each, or what is left of it; or one at the server."""
        shares: float = 1 if self._is_central else survivors
        if reduced:
            levels = self.levels(parties)
            left = levels.left[levels.level(len(parties.sizes) - survivors)]
            shares -= reduced * (1 - left / VARIANCE)
        mechanism = self.mechanism(parties)
        deviation = mechanism.deviation * mechanism.step
        return shares * (deviation * deviation)

    @property
    def _is_central(self) -> bool:
        return self.rules.privacy.noise == "central"

    @property
    def _is_distributed(self) -> bool:
        return self.rules.privacy.noise == "distributed"


@dataclass(frozen=True)
class SummedGradients(NoisedSum):
    """Clipped gradients of one Poisson batch: the sum over the sites is one step of central DP-SGD."""

    def check(self) -> None:
        """Noise that is added once to the sum protects one clipped gradient per record or patient, and no more."""
        unit, noise = self.rules.privacy.unit, self.rules.privacy.noise
        reason = f'is not covered by {unit}-level "{noise}" noise'
        if self.rules.training.local_steps > 1:
            hint = 'set it to 1, or choose privacy.noise = "site"'
            raise Mistake(reason, hint, ("training", "local_steps"), unsafe=True)
        if self.rules.training.optimizer != "sgd":
            hint = 'set it to "sgd" (the server optimizer can be adaptive), or choose privacy.noise = "site"'
            raise Mistake(reason, hint, ("training", "optimizer"))
        for name in ("momentum", "proximal"):
            if getattr(self.rules.training, name) is not None:
                hint = "remove it: a site sends one gradient and takes no step (the server optimizer may)"
                raise Mistake(f'means nothing beside {unit}-level "{noise}" noise', hint, ("training", name))
        if self.rules.cohort.weights != "uniform":
            raise Mistake(reason, f'set it to "uniform": every {unit} counts once', ("cohort", "weights"))

    def bound(self, parties: Parties) -> float:
        """The clipping norm times the most records in a batch."""
        return self._batch_norm(parties.largest)

    def reach(self, parties: Parties, site: str) -> float:
        """The clipping norm times the most records in a batch of this site."""
        return self._batch_norm(parties.sizes[site])

    def clipped(self, parties: Parties, site: str, work: Work) -> Tensor:
        """Each record's, or patient's, gradient is clipped by itself."""
        return work.clipped_gradients(self.mechanism(parties).clipping_norm)

    def clipped_rows(self, parties: Parties, sites: Sequence[str], works: Works) -> Rows:
        """The same of many."""
        return works.clipped_gradients(self.mechanism(parties).clipping_norm)

    def mean(self, parties: Parties, released: Tensor, survivors: Collection[str]) -> Tensor:
        """One step of size `training.learning_rate` along the mean over the expected number of records."""
        return -self.rules.training.learning_rate * released / self._expected(parties, survivors)

    def noise_variance(self, parties: Parties, survivors: Collection[str], reduced: int = 0) -> float:
        """The variance on the sum, scaled like the sum."""
        scale = self.rules.training.learning_rate / self._expected(parties, survivors)
        return self.sum_variance(parties, len(survivors), reduced) * (scale * scale)

    @once
    def _expected(self, parties: Parties, survivors: Collection[str]) -> float:
        return self.rules.training.sample_rate * sum(parties.sizes[site] for site in survivors)


@dataclass(frozen=True)
class ClippedUpdate(NoisedSum):
    """What training changed, clipped as a whole: the site itself is what is protected."""

    @property
    def sample_rate(self) -> float:
        """1, since the server sees which sites take part."""
        return 1.0

    def bound(self, parties: Parties) -> float:
        """The clipping norm."""
        return self.rules.privacy.clipping_norm or 0.0

    def reach(self, parties: Parties, site: str) -> float:
        """The clipping norm times the site's weight."""
        return self.bound(parties) * self.weight(parties, site)

    def clipped(self, parties: Parties, site: str, work: Work) -> Tensor:
        """A weight is public and at most 1, so what it scales stays within the clipping norm."""
        from privacy.mechanism.clipping import clip_rows

        # In place: of a large model nobody holds a second vector in float64.
        clipped = clip_rows(work.update()[None], self.mechanism(parties).clipping_norm, in_place=True)
        return clipped.mul_(self.weights(parties, (site,)))[0]

    def clipped_rows(self, parties: Parties, sites: Sequence[str], works: Works) -> Rows:
        """The same of many."""
        return ((places, self._clipped(parties, sites[places], rows)) for places, rows in works.updates())

    def _clipped(self, parties: Parties, sites: Sequence[str], rows: Tensor) -> Tensor:
        from privacy.mechanism.clipping import clip_rows

        return clip_rows(rows, self.mechanism(parties).clipping_norm) * self.weights(parties, sites)
