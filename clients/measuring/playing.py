"""Plays rounds of a plan with canaries, through the very code that a site contributes with, and keeps what left.

What is kept of a round is what the server would hold: the sum over the sites that the guarantee counts on, with the
noise taken out that a sum does not need, or, where noise is added in every step at a site, each of its noised
steps. Nothing is sent, no ledger is opened and no file is read.

Every other round loses as many sites as may be lost, since the noise that is left in a sum is another then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.measuring.canaries import Canaries
from clients.training.steps import Steps
from clients.training.work import Trainer, contribution, fresh_excess, site_stream
from federation.kinds.base import Work
from federation.kinds.updates import NoisedSteps
from federation.plan.plan import Plan
from federation.round.cohort import stand_ins
from federation.round.messages import Member
from federation.round.parts import secrets_of, without_excess
from federation.round.sent import first_norm, joined
from federation.round.terms import Terms
from privacy.mechanism.encoding import EncodingOverflow, RingVector
from privacy.mechanism.noise import Stream

Tell = Callable[[int, int], None]
Floats = NDArray[np.float64]
RUN_BYTES = 16
_LIKENED = 2  # sites of a round whose noise is compared


@dataclass
class Watched:
    """The work of a site, and every noised step that it was given back."""

    work: Work
    steps: list[Tensor] = field(default_factory=list)
    batches: int = 0

    @property
    def clipping_norm(self) -> float:
        """Passed on."""
        return self.work.clipping_norm

    def update(self) -> Tensor:
        """Passed on, and counted."""
        self.batches += 1
        return self.work.update()

    def noised_update(self, clipping_norm: float, noised: Callable[[Tensor], Tensor]) -> Tensor:
        """Passed on; what `noised` lets through is kept."""

        def seen(total: Tensor) -> Tensor:
            found = noised(total)
            self.steps.append(found.clone())
            return found

        return self.work.noised_update(clipping_norm, seen)

    def clipped_gradients(self, clipping_norm: float) -> Tensor:
        """Passed on, and counted."""
        self.batches += 1
        return self.work.clipped_gradients(clipping_norm)

    def figures(self) -> Tensor:
        """Passed on."""
        return self.work.figures()


def watching(watched: list[Watched]) -> Callable[[Work], Work]:
    """What `contribution` puts around a site's work: it is added to these, also where the work ends in an error."""

    def around(work: Work) -> Work:
        watched.append(Watched(work))
        return watched[-1]

    return around


@dataclass
class Seen:
    """What left in all rounds that were played: `released` is what is charged for, one vector a release.

    `noises` are what single sites added, or the server: one vector each, none of which may be like another.
    """

    sites: int
    rounds: int = 0
    batches: int = 0
    released: list[Floats] = field(default_factory=list)
    noises: list[Floats] = field(default_factory=list)
    follows: bool = True  # what a site sent is nothing but what its noised steps make


@dataclass(frozen=True)
class Stage:
    """A cohort of this plan with the canaries at one site, and nobody's data at the others."""

    plan: Plan
    site: str
    canaries: Canaries
    sites: int  # of the cohort

    def terms(self) -> Terms:
        """Those of round 1."""
        members = members_of(self.site, self.sites, self.canaries.size)
        whole = Terms(self.plan, os.urandom(RUN_BYTES), 1, 1, members, self.canaries.places.dimension)
        return whole.of(self.site)

    def trainer(self, name: str) -> Trainer:
        """A site's, with its stream as in a run."""
        data = self.canaries.data if name == self.site else self.canaries.nobody
        return Trainer(self.canaries.task, data, partial(site_stream, self.plan, name))


def members_of(site: str, sites: int, size: int) -> tuple[Member, ...]:
    """A cohort of so many sites, of which one is this and the others are stand-ins."""
    others = [name for name in stand_ins(sites) if name != site]
    return tuple(Member(name, size) for name in sorted([site, *others[: sites - 1]]))


def played(stage: Stage, most: int, seconds: float, tell: Tell = lambda _done, _total: None) -> Seen:
    """At most so many rounds, and two at least, that begin within so many seconds. The clock sees no noise.

    More rounds than the plan has are those of another run of it.
    """
    terms, began = stage.terms(), time.monotonic()
    seen = Seen(terms.levels.honest if _is_shared(terms) else 1)
    play = _steps if isinstance(terms.kind, NoisedSteps) else _sum
    trainers: dict[str, Trainer] = {}
    for number in range(1, most + 1):
        tell(number - 1, most)
        if number > 2 and time.monotonic() - began > seconds:
            break
        play(stage, terms.again(1 + (number - 1) % stage.plan.federation.rounds, 1), trainers, seen)
        seen.rounds += 1
    tell(most, most)
    return seen


def _is_shared(terms: Terms) -> bool:
    return terms.plan.privacy.noise == "distributed"


def _steps(stage: Stage, terms: Terms, trainers: dict[str, Trainer], seen: Seen) -> None:
    """A round of a site that noises each of its steps: all of them are releases, and all that it sends."""
    watched: list[Watched] = []
    vector: RingVector | None = None
    with suppress(EncodingOverflow):  # a learning rate with which a site sends nothing; its steps were noised
        vector = _of(stage, terms, stage.site, trainers, b"", watched)
    (work,) = watched
    seen.released += [step.numpy() for step in work.steps]
    seen.noises += seen.released[len(seen.noises) :]
    seen.batches += len(work.steps)
    if vector is not None:
        seen.follows = seen.follows and _follows(stage, terms, work, vector)


def _follows(stage: Stage, terms: Terms, work: Watched, vector: RingVector) -> bool:
    """Whether a vector is what the site's own optimizer makes of the noised steps, but for the rounding."""
    training = terms.plan.training
    position = torch.zeros(terms.dimension, dtype=torch.float64)
    steps = Steps(training, position)
    for noised in work.steps:
        mean = noised / (training.sample_rate * terms.size(stage.site))
        if training.proximal is not None:
            mean = mean + training.proximal * position
        steps.step(mean)
    return bool(np.abs(floats_of(terms, vector) - position.numpy()).max() <= 1.001 * terms.codec.step)


def _sum(stage: Stage, terms: Terms, trainers: dict[str, Trainer], seen: Seen) -> None:
    """A round whose sum is noised: the sum of the sites that are honest and not lost."""
    names = [stage.site, *(name for name in terms.parties.sizes if name != stage.site)]
    lost = terms.levels.lost[-1] if seen.rounds % 2 and _is_shared(terms) else 0
    survivors = names[: len(names) - lost]
    honest = names[: terms.levels.honest - lost if _is_shared(terms) else 1]
    watched: list[Watched] = []
    total, opened = np.zeros(terms.length, np.uint64), {}
    for place, name in enumerate(honest):
        excess = fresh_excess(terms)
        vector = _of(stage, terms, name, trainers, excess, watched)
        total = total + vector
        if terms.takes_out and terms.levels.level(lost) < terms.levels.secrets:
            opened[name] = secrets_of(terms, name, excess)[terms.levels.level(lost)]
        if place < _LIKENED and terms.plan.privacy.noise != "central":
            seen.noises.append(floats_of(terms, vector)[: terms.dimension])
    ring = np.uint64((1 << terms.codec.ring_bits) - 1)
    left = without_excess(terms, total & ring, survivors, opened)
    released = terms.kind.released(terms.parties, left.total, Stream(os.urandom(32))).numpy()
    seen.released.append(released[: terms.dimension])  # without the bits, where a norm moves
    seen.batches += watched[0].batches
    if terms.plan.privacy.noise == "central":
        seen.noises.append(seen.released[-1])


def _of(
    stage: Stage,
    terms: Terms,
    name: str,
    trainers: dict[str, Trainer],
    excess: bytes,
    watched: list[Watched],
) -> RingVector:
    if name not in trainers:
        trainers[name] = stage.trainer(name)
    start = joined(torch.zeros(terms.dimension), first_norm(terms.plan.privacy))
    return contribution(terms, name, start, trainers[name], excess, watching(watched))


def floats_of(terms: Terms, vector: RingVector) -> Floats:
    """The numbers of a vector that is sent."""
    codec = terms.codec
    found: Floats = codec.decode(codec.from_ring(vector)).numpy()
    return found
