"""Kinds that add no noise to an update: it is plain, or DP-SGD noised each of its steps."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from federation.config.tables import Training
from federation.kinds.allowed import Span
from federation.kinds.base import Draws, Kind, Parties, Rows, Work, Works, grid, on_grid, once, parts_of
from federation.kinds.noised import rounded
from privacy.accounting.events import Event, NonPrivateEvent
from privacy.errors import UnsafeParameters
from privacy.mechanism.gaussian import GaussianMechanism
from privacy.mechanism.noise import Stream

if TYPE_CHECKING:
    from torch import Tensor

    from privacy.mechanism.encoding import Codec, Integers, RingVector

_BOUND = 16.0  # largest magnitude of a coordinate
_BITS = 24
_BETA1, _BETA2, _ALPHA = 0.9, 0.999, 0.99  # torch's defaults of Adam and RMSprop, which sites train with


@dataclass(frozen=True)
class FixedPoint(Kind):
    """An update that needs no further noise: rounded by secret coins, so that a mean over many has no bias."""

    @once
    def codec(self, parties: Parties) -> Codec:
        """24 bits for coordinates up to 16."""
        from privacy.mechanism.encoding import Codec

        limit = 1 << (_BITS - 1)
        return Codec(_BOUND / limit, limit, headroom=0, cohort=len(parties.sizes))

    def contribute(
        self, parties: Parties, site: str, work: Work, stream: Stream, excess: Sequence[Stream] = ()
    ) -> RingVector:
        """The update times the site's weight. No noise is added here, and none can be taken out."""
        delta, weight = self.update(parties, site, work, stream), self.weight(parties, site)
        return rounded(self.codec(parties), delta, weight, stream.derive("rounding").words)

    def summed(
        self, parties: Parties, sites: Sequence[str], works: Works, draws: Draws, lost: int
    ) -> RingVector:
        """The updates times the weights of their sites, rounded and added up."""
        from privacy.mechanism.encoding import EncodingOverflow

        codec, total = self.codec(parties), np.zeros(self.length(parties), np.int64)
        for places, rows in parts_of(self.updates(parties, sites, works, draws)):
            coins = draws.coins(places, rows.shape[1])
            try:
                total += codec.encode_sum(self._weighted(parties, sites[places], rows), coins)
            except EncodingOverflow as error:
                error.row += places.start
                raise
        return codec.to_ring(total)

    def _weighted(self, parties: Parties, sites: Sequence[str], rows: Tensor) -> Tensor:
        uniform = self.rules.cohort.weights == "uniform"
        return rows if uniform else rows * self.weights(parties, sites)

    def excess_blocks(self, parties: Parties, lost: int, streams: Sequence[Stream]) -> Iterator[Integers]:
        """UnsafeParameters: no noise is added to an update."""
        raise UnsafeParameters("an update without noise has no excess")

    @abstractmethod
    def update(self, parties: Parties, site: str, work: Work, stream: Stream) -> Tensor:
        """What training changed."""

    @abstractmethod
    def updates(self, parties: Parties, sites: Sequence[str], works: Works, draws: Draws) -> Rows:
        """What training changed at each of these sites."""

    def span(self, parties: Parties, survivors: Collection[str]) -> Span:
        """What the range of the codec lets through: a site whose update is beyond it sends nothing."""
        each = Span.around(_BOUND, _BOUND * math.sqrt(self.length(parties)))
        return Span.sum_of([each] * len(survivors))

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

    def update(self, parties: Parties, site: str, work: Work, stream: Stream) -> Tensor:
        """What training changed."""
        return work.update()

    def updates(self, parties: Parties, sites: Sequence[str], works: Works, draws: Draws) -> Rows:
        """What training changed at each."""
        return works.updates()


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

    @once
    def mechanism(self, parties: Parties) -> GaussianMechanism:
        """Of a step, in which layers that sites keep are clipped and noised with the others, as one vector."""
        travels = super().mechanism(parties)
        return replace(travels, dimension=parties.dimension + self.rules.kept)

    def bound(self, parties: Parties) -> float:
        """Largest magnitude of one coordinate of a step's clipped sum."""
        return self._batch_norm(parties.largest)

    @once
    def step_codec(self, parties: Parties) -> Codec:
        """The grid on which a site noises one step."""
        return grid(self.mechanism(parties), self.bound(parties), cohort=1)

    def prepare(self, parties: Parties) -> None:
        """The grid of a step, and the tables of its noise."""
        super().prepare(parties)
        self.step_codec(parties)
        self.mechanism(parties).noise(Stream(os.urandom(32)))

    def span(self, parties: Parties, survivors: Collection[str]) -> Span:
        """What local steps can make of clipped sums: by the batches under SGD, by the rule of another.

        Of AdamW, whose decay moves large params far, it is what the range of the codec lets through.
        """
        return Span.sum_of([self._span(parties, site) for site in survivors])

    def _span(self, parties: Parties, site: str) -> Span:
        training, length, rounding = self.rules.training, self.length(parties), self.codec(parties).step
        weight, root = self.weight(parties, site), math.sqrt(length)
        if training.optimizer == "adamw":  # decay follows from the params, which this does not know
            return Span.around(_BOUND, _BOUND * root)
        if training.optimizer != "sgd":
            far = (
                weight * training.learning_rate * farthest(training.optimizer, training.local_steps)
                + rounding
            )
            return replace(Span.around(far, far * root), most=_BOUND)
        size, mechanism = parties.sizes[site], self.mechanism(parties)
        step = mechanism.step
        scale = weight * training.learning_rate / (training.sample_rate * size)
        each, (steps, squares) = self._batch_norm(size), carried(training)
        coordinate = scale * steps * (each + step / 2) + rounding
        norm = scale * steps * (each + root * step / 2) + root * rounding
        noise = scale * math.sqrt(squares) * mechanism.deviation * step
        return replace(Span.around(coordinate, norm), deviation=noise, most=_BOUND)

    def update(self, parties: Parties, site: str, work: Work, stream: Stream) -> Tensor:
        """Each step's clipped sum is put on the grid and noised before the local optimizer sees it."""
        noise, norm = stream.derive("noise"), self.mechanism(parties).clipping_norm
        return work.noised_update(norm, lambda total: self._noised(parties, (site,), total[None], noise)[0])

    def updates(self, parties: Parties, sites: Sequence[str], works: Works, draws: Draws) -> Rows:
        """The same of each of these sites, whose noise in every step is its own part of one long draw."""

        def noised(places: slice, totals: Tensor) -> Tensor:
            return self._noised(parties, sites[places], totals, draws.noise)

        return works.noised_updates(self.mechanism(parties).clipping_norm, noised)

    def _noised(self, parties: Parties, sites: Sequence[str], totals: Tensor, noise: Stream) -> Tensor:
        """Clipped sums (k, d) on the grid, each with noise of its own."""
        codec, radii = self.step_codec(parties), self._radii(parties, tuple(sites))
        drawn = self.mechanism(parties).noise_rows(noise, len(sites))
        return codec.decode(on_grid(codec, totals.cpu(), radii) + drawn)

    @once
    def _radii(self, parties: Parties, sites: tuple[str, ...]) -> list[float]:
        return [self._batch_norm(parties.sizes[site]) for site in sites]

    @once
    def noise_variance(self, parties: Parties, survivors: Collection[str], reduced: int = 0) -> float:
        """The variance of all steps of all survivors, as SGD carries it into their updates."""
        training = self.rules.training
        weights = {site: self.weight(parties, site) for site in survivors}
        scales = (
            weights[site] * training.learning_rate / (training.sample_rate * parties.sizes[site])
            for site in survivors
        )
        each = math.fsum(scale * scale for scale in scales) * carried(training).squares
        mechanism, whole = self.mechanism(parties), math.fsum(weights.values())
        deviation = mechanism.deviation * mechanism.step
        return deviation * deviation * each / (whole * whole)


class Carried(NamedTuple):
    """What SGD ends with of the gradients of its steps, over the rate: sums of shares and of their squares."""

    shares: float
    squares: float


@lru_cache(maxsize=64)
def carried(training: Training) -> Carried:
    """How much of every step's gradient is in what a site's SGD changed.

    All of it for plain steps. With momentum m a gradient goes on to move the params in later steps, by m, m^2 and
    so on; the proximal term takes a part of every move back. Both are linear, so a step's share is what the steps
    make of a single gradient of 1, and depends on how many are left.
    """
    momentum, back = training.momentum or 0.0, training.learning_rate * (training.proximal or 0.0)
    shares = squares = moved = velocity = 0.0
    for left in range(training.local_steps):
        velocity = momentum * velocity + (left == 0) - back * moved
        moved += velocity
        shares, squares = shares + abs(moved), squares + moved * moved
    return Carried(shares, squares)


@lru_cache(maxsize=64)
def farthest(optimizer: str, steps: int) -> float:
    """How far Adam or RMSprop, begun anew, moves a coordinate at most in so many steps of rate 1.

    Step t divides sum_k w_k g_k by the root of sum_k v_k g_k^2, with weights that fall by a power for each step
    back. By Cauchy and Schwarz that is at most the root of sum_k w_k^2 / v_k. RMSprop's w is 1 at the last gradient
    alone.

    >>> round(farthest("rmsprop", 3), 3), round(farthest("adam", 1), 3), round(farthest("adam", 100), 1)
    (30.0, 1.0, 160.5)
    """
    if optimizer == "rmsprop":
        return steps / math.sqrt(1 - _ALPHA)
    moved, sums, falls = 0.0, 0.0, _BETA1**2 / _BETA2
    for step in range(1, steps + 1):
        sums = 1 + falls * sums
        first, second = (1 - _BETA1) / (1 - _BETA1**step), (1 - _BETA2) / (1 - _BETA2**step)
        moved += first * math.sqrt(sums / second)
    return moved
