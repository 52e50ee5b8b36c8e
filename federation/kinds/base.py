"""A kind of release: what a site sends in a round, what makes it private, what the server makes of the sum.

    unit              noise                  kind              one site's contribution
    record, patient   site                   NoisedSteps       what DP-SGD steps changed, noise inside every step
    record, patient   distributed, central   SummedGradients   clipped gradients of one Poisson batch
    client            any but none           ClippedUpdate     what training changed, clipped as a whole
    client            the same, norm moves   AdaptiveUpdate    the same, and whether it was within the norm
    any               none                   PlainUpdate       what training changed
    record, patient   any, and no training   Tallies           the records' cells of a histogram, one round
    the round after the last                 Figures           right, wrong and loss over the held-out records

All code that depends on (unit, noise) asks `plan.kind`, and for the round after the last `plan.figures`.
Example: `plan.kind.releases` is 200 for 200 rounds of SummedGradients, and 1,000 for 200 rounds of NoisedSteps with
5 local steps. docs/architecture.md says how to add a kind.

Torch is imported where it is used: it takes a second, and a mistake in a plan answers at once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from federation.config.tables import Rules
from federation.kinds.allowed import Span
from federation.kinds.folds import is_in_one, plays, tests, trainings
from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.events import Event, GaussianEvent
from privacy.accounting.units import Charge
from privacy.errors import CalibrationFailed, UnsafeParameters
from privacy.mechanism.excess import Levels
from privacy.mechanism.gaussian import GaussianMechanism
from privacy.mechanism.noise import VARIANCE, Stream

if TYPE_CHECKING:
    from torch import Tensor

    from privacy.mechanism.encoding import Codec, Integers, RingVector, Words

_AT_ONCE = 2**15  # numbers

Rows: TypeAlias = "Iterator[tuple[slice, Tensor]]"

_Kind = TypeVar("_Kind", bound="Kind")
_Rest = ParamSpec("_Rest")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Parties:
    """The public facts of a round's cohort: declared sizes by site, survivors required, the model's dimension.

    `lost` are the levels of the excess noise (`privacy.mechanism.excess`), if a share of it is drawn in parts.
    """

    sizes: Mapping[str, int]
    required: int
    dimension: int
    lost: tuple[int, ...] = ()
    facts: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def largest(self) -> int:
        """The largest declared size."""
        return max(self.sizes.values())


def once(
    work: Callable[Concatenate[_Kind, Parties, _Rest], _Result],
) -> Callable[Concatenate[_Kind, Parties, _Rest], _Result]:
    """Have what follows from plan and cohort alone worked out once for a cohort; with other arguments, anew."""

    @wraps(work)
    def known(kind: _Kind, parties: Parties, *rest: _Rest.args, **named: _Rest.kwargs) -> _Result:
        place, asked = (type(kind), work.__qualname__), (*rest, *named.items())
        found = parties.facts.get(place)
        if found is None or found[0] is not kind.rules or found[1] != asked:
            found = parties.facts[place] = kind.rules, asked, work(kind, parties, *rest, **named)
        result: _Result = found[2]
        return result

    return known  # type: ignore[return-value]  # called as `work` is


class Work(Protocol):
    """What a site can do with its data in one round. Each result is a flat float64 vector (d,)."""

    @property
    def clipping_norm(self) -> float:
        """The norm of the round: as it was sent, where a plan has it move."""

    def update(self) -> Tensor:
        """The params after local training minus those before; fresh, so that whoever asked may clip it in place."""

    def noised_update(self, clipping_norm: float, noised: Callable[[Tensor], Tensor]) -> Tensor:
        """The same with DP-SGD; `noised` turns each step's clipped sum into what the optimizer may see."""

    def clipped_gradients(self, clipping_norm: float) -> Tensor:
        """The sum over one Poisson batch."""

    def figures(self) -> Tensor:
        """Right answers, wrong answers and share of loss (3,), summed over the held-out records."""


class Works(Protocol):
    """What many sites can do with their data in one round: `Work`, a row of (k, d) for each of them.

    Rows come in parts, each with the places of its sites among all that are asked, until all have one.
    """

    @property
    def clipping_norm(self) -> float:
        """`Work.clipping_norm`: one for all."""

    def updates(self) -> Rows:
        """`Work.update` of each."""

    def noised_updates(self, clipping_norm: float, noised: Callable[[slice, Tensor], Tensor]) -> Rows:
        """`Work.noised_update` of each; `noised` is told the places of the sums (k, d) that it is to noise."""

    def clipped_gradients(self, clipping_norm: float) -> Rows:
        """`Work.clipped_gradients` of each."""

    def figures(self) -> Rows:
        """`Work.figures` of each."""

    def alone(self, place: int) -> Work:
        """The work of one of them, for a kind that asks for nothing that all can do at once."""


@dataclass(frozen=True)
class Draws:
    """The chance in a sum over many sites: a secret stream for all noise, and each site's coins for rounding.

    `coins` of places and a number are as many words for each of these sites, uniform below 2^64.
    """

    noise: Stream
    coins: Callable[[slice, int], Words]


@dataclass(frozen=True)
class Kind(ABC):
    """One kind of release under one plan: first what it claims, then what happens in a round."""

    rules: Rules

    def check(self) -> None:  # noqa: B027 - most kinds have nothing to refuse
        """Raise a Mistake if other tables of the plan do not fit this kind."""

    @property
    def releases_per_round(self) -> int:
        """How often a site's data is released through noise in a round."""
        return 1

    @property
    def releases(self) -> int:
        """How often in the whole run: what the accountant counts. With folds, those a unit is in."""
        return self.rules.federation.rounds * self.releases_per_round * trainings(self.rules)

    @property
    def whole(self) -> int:
        """How often in all trainings, where the plan has folds and a unit that it protects is in some; else 0."""
        if not is_in_one(self.rules):
            return 0
        return self.rules.federation.rounds * self.releases_per_round * plays(self.rules)

    @property
    def sample_rate(self) -> float:
        """The rate that amplification by sampling may count on."""
        return self.rules.training.sample_rate

    @property
    def noise_multiplier(self) -> float:
        """Noise over sensitivity that makes the whole run (epsilon, delta)-private: every party works it out."""
        privacy = self.rules.privacy
        if privacy.epsilon is None or privacy.delta is None:
            raise UnsafeParameters("a plan without privacy has no noise multiplier")
        try:
            return noise_multiplier(privacy.epsilon, privacy.delta, self.sample_rate, self.releases)
        except CalibrationFailed as error:
            place = self.rules.place("privacy", "epsilon")
            raise CalibrationFailed(f"{place}: {error.message}", hint=error.hint) from None

    @property
    def noise_text(self) -> str:
        """The noise multiplier as every party must have worked it out, digit for digit; "" if there is none."""
        return repr(self.noise_multiplier)

    @property
    def event(self) -> Event:
        """Everything that a site releases if the plan runs to its end, for the accountant."""
        return GaussianEvent(self.noise_multiplier, self.sample_rate, self.releases)

    @property
    def charge(self) -> Charge:
        """The event, the unit that it protects and where the noise is: the cost for each unit follows from them."""
        privacy = self.rules.privacy
        return Charge(self.event, privacy.unit, privacy.noise != "site", self.whole)

    @property
    def knows_its_noise(self) -> bool:
        """Whether `noise_variance` is right: it is unknown after a site's own Adam."""
        return True

    def length(self, parties: Parties) -> int:
        """How many numbers a site contributes."""
        return parties.dimension

    @once
    def mechanism(self, parties: Parties) -> GaussianMechanism:
        """What makes a release private. UnsafeParameters where nothing does."""
        norm = self.rules.privacy.clipping_norm
        if norm is None:
            raise UnsafeParameters("a plan without privacy has no mechanism")
        shares = self._shares(parties)
        return GaussianMechanism(norm, self.noise_multiplier, self.sample_rate, shares, parties.dimension)

    @abstractmethod
    def codec(self, parties: Parties) -> Codec:
        """How one site's contribution becomes ring integers, with room for the whole cohort."""

    def prepare(self, parties: Parties) -> None:
        """Work out now what the first sum of this cohort would otherwise have to."""
        self.codec(parties)
        self.allowed(parties, tuple(parties.sizes))

    @abstractmethod
    def contribute(
        self, parties: Parties, site: str, work: Work, stream: Stream, excess: Sequence[Stream] = ()
    ) -> RingVector:
        """One site's vector. It is private only as far as the plan's noise makes it so.

        `excess` are the streams of the parts of its noise that may be taken out again. Without them its whole share
        is of `stream`, and stays.
        """

    @abstractmethod
    def summed(
        self, parties: Parties, sites: Sequence[str], works: Works, draws: Draws, lost: int
    ) -> RingVector:
        """The sum of what these sites contribute, where one process plays them all.

        The noise in it is that of a sum that lost `lost` sites of the cohort: no more of it is drawn than stays.
        """

    def excess(self, parties: Parties, lost: int, streams: Sequence[Stream]) -> RingVector:
        """What of one site's noise a sum that lost so many sites does not need.

        `streams` are those of the parts above the sum's level, of which there has to be one.
        """
        import numpy as np

        return self.codec(parties).to_ring(np.concatenate([*self.excess_blocks(parties, lost, streams)]))

    @abstractmethod
    def excess_blocks(self, parties: Parties, lost: int, streams: Sequence[Stream]) -> Iterator[Integers]:
        """The same in blocks, as integers."""

    def released(self, parties: Parties, total: RingVector, stream: Stream) -> Tensor:
        """What the cohort released, flat float64: the decoded sum, with the server's noise where that is due."""
        return self.decoded(parties, self.with_noise(parties, total, stream))

    def with_noise(self, parties: Parties, total: RingVector, stream: Stream) -> RingVector:
        """The sum with the server's noise on it: itself, where none is due."""
        return total

    def decoded(self, parties: Parties, part: RingVector) -> Tensor:
        """A part of a sum, flat float64."""
        codec = self.codec(parties)
        return codec.decode(codec.from_ring(part))

    @abstractmethod
    def span(self, parties: Parties, survivors: Collection[str]) -> Span:
        """What the sum over these sites may be if they are honest, and the noise that is on it when it is read."""

    @once
    def allowed(self, parties: Parties, survivors: Collection[str]) -> Span:
        """The same with the noise's tail: a sum beyond it was not made by honest sites."""
        rounds = self.rules.federation.rounds * plays(self.rules)
        rounds += tests(self.rules) if self.rules.evaluation.epsilon is not None else 0
        return self.span(parties, survivors).allowed(self.length(parties), rounds)

    @abstractmethod
    def sum_variance(self, parties: Parties, survivors: int, reduced: int = 0) -> float:
        """The variance of the noise on each coordinate of the sum, over all shares in it.

        From the shares of `reduced` of the survivors the excess was taken out.
        """

    def mean(self, parties: Parties, released: Tensor, survivors: Collection[str]) -> Tensor:
        """The cohort's delta, with which the server optimizer steps: here a mean by public weights."""
        return released / self._weights(parties, survivors)

    def noise_variance(self, parties: Parties, survivors: Collection[str], reduced: int = 0) -> float:
        """The variance of the noise on each coordinate of `mean`: public, as it follows from the plan."""
        weights = self._weights(parties, survivors)
        return self.sum_variance(parties, len(survivors), reduced) / (weights * weights)

    def noise_excess(self, parties: Parties, lost: int = 0) -> float:
        """Standard deviation of the noise on a sum that lost so many sites, over that of the shares counted on.

        What can be taken out of it is out. 1 where the noise has one source, a site by itself or the server.
        """
        if self.rules.privacy.noise != "distributed":
            return 1.0
        levels, survivors = self.levels(parties), len(parties.sizes) - lost
        return math.sqrt(survivors * levels.left[levels.level(lost)] / (levels.shares * VARIANCE))

    @once
    def levels(self, parties: Parties) -> Levels:
        """The parts of a share of distributed noise."""
        most = len(parties.sizes) - parties.required
        return Levels(len(parties.sizes) - self.rules.secure_aggregation.colluders, parties.lost or (most,))

    def weight(self, parties: Parties, site: str) -> float:
        """A site's public weight in a mean of updates, in (0, 1]."""
        if self.rules.cohort.weights == "uniform":
            return 1.0
        return parties.sizes[site] / parties.largest

    def weights(self, parties: Parties, sites: Sequence[str]) -> Tensor:
        """The weights of these sites, float64 (k, 1)."""
        import torch

        each = [self.weight(parties, site) for site in sites]
        return torch.tensor(each, dtype=torch.float64)[:, None]

    @once
    def _weights(self, parties: Parties, survivors: Collection[str]) -> float:
        """The sum of the survivors' weights, rounded once: an auditor's Python may add floats in another way."""
        return math.fsum(self.weight(parties, site) for site in survivors)

    @property
    def draws_patients(self) -> bool:
        """Whether people are drawn and clipped whole, rather than records."""
        return self.rules.privacy.unit == "patient"

    @property
    def clips_records(self) -> bool:
        """Whether the gradient of each record, or patient, is clipped: not where an update counts as a whole."""
        return self.rules.privacy.noise != "none" and self.rules.privacy.unit != "client"

    def _shares(self, parties: Parties) -> int:
        """How many shares of noise the guarantee counts on: the survivors that a round needs, less the colluders.

        A share that may be missing, or known to the adversary, does not count. Example: 10 sites, 2 dropouts and
        1 colluder leave 7 shares.
        """
        if self.rules.privacy.noise != "distributed":
            return 1
        return self.levels(parties).shares

    def _batch_norm(self, size: int) -> float:
        """The largest L2 norm of the sum of clipped gradients at a site of this declared size."""
        return (self.rules.privacy.clipping_norm or 0.0) * self._batch(size)

    def largest_batch(self, parties: Parties) -> int:
        """Records, or patients, in the largest batch of all sites that counts in full."""
        return self._batch(parties.largest)

    def _batch(self, size: int) -> int:
        """Records, or patients, in the largest batch that counts in full at a site of this declared size.

        The sum of a Poisson batch above it (eight standard deviations over its mean) is projected into the ball of
        so many records, which cannot raise the sensitivity: a projection onto a convex set moves no two points
        apart.
        """
        expected = self.rules.training.sample_rate * size
        return min(size, math.ceil(expected + 8 * math.sqrt(expected) + 8))


def parts_of(rows: Rows) -> Rows:
    """The same rows, few at a time: so a core's cache holds what becomes of them."""
    for places, part in rows:
        count = max(1, _AT_ONCE // max(1, part.shape[1]))
        for start in range(0, len(part), count):
            end = min(start + count, len(part))
            yield slice(places.start + start, places.start + end), part[start:end]


def grid(mechanism: GaussianMechanism, bound: float, cohort: int, share: int | None = None) -> Codec:
    """The mechanism's grid with room for `cohort` vectors up to `bound` in every coordinate, and their noise.

    `share` is the largest magnitude of the noise on one of them, by default of one that is drawn at once.
    """
    from privacy.mechanism.encoding import Codec

    share, reach = mechanism.max_draw if share is None else share, math.ceil(bound / mechanism.step)
    return Codec(step=mechanism.step, limit=reach, headroom=cohort * share, cohort=cohort)


def on_grid(codec: Codec, bounded: Tensor, radii: Sequence[float]) -> Integers:
    """Grid integers of clipped sums (k, d), none longer than its radius before rounding, whatever the data are."""
    return codec.encode_rows(_projected(codec, bounded, radii))


def sum_on_grid(codec: Codec, bounded: Tensor, radii: Sequence[float]) -> Integers:
    """The sum (d,) of `on_grid`. Rows that are surely inside box and ball stay what they are, as in there."""
    import torch

    lengths, box = torch.linalg.vector_norm(bounded, dim=1), codec.step * codec.limit
    least = torch.tensor(radii, dtype=torch.float64).clamp(max=box) * (1 - 2.0**-20)
    inside = bool((lengths <= least).all())  # NaN fails a comparison
    return codec.encode_sum(bounded if inside else _projected(codec, bounded, radii))


def _projected(codec: Codec, bounded: Tensor, radii: Sequence[float]) -> Tensor:
    """Box and ball are public and convex: projecting moves no two inputs apart."""
    import torch

    from privacy.mechanism.clipping import into_balls, into_box

    inside = into_box(bounded, codec.step * codec.limit)
    return into_balls(inside, torch.tensor(radii, dtype=torch.float64))
