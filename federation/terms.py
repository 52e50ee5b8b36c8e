"""The terms of a round: all that follows from plan, cohort and params, derived by every party alike.

Nothing here is taken on the server's word: a site computes threshold, grid, noise and ring from the plan that
it approved and the cohort that it was shown, and binds every mask to a digest of them. A server that tells two
sites different things gets masks that do not cancel, that is, noise (docs/protocol.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from federation.claim import evaluation_event, noise_text, planned_noise_multiplier, sample_rate
from federation.messages import Invitation, Member
from federation.plan import Plan
from privacy.encoding import Codec
from privacy.errors import MalformedMessage, UnsafeParameters
from privacy.mechanism import GaussianMechanism
from privacy.noise import MAX_DRAW
from privacy.secagg.parameters import Parameters
from privacy.wire import Writer, digest

# What is published of an evaluation: right answers, wrong answers, and the loss as a share of LOSS_BOUND.
FIGURES = 3
FIGURES_NORM = math.sqrt(2)  # of one record: it is either right or wrong, and its share of loss at most 1
LOSS_BOUND = 4.0  # nats; a larger loss counts as this one

# An update without noise on it, or with the noise already inside, travels as fixed-point numbers.
FIXED_POINT_BOUND = 16.0
FIXED_POINT_BITS = 24


@dataclass(frozen=True)
class Terms:
    """One attempt at one round, as agreed. `dimension` is the number of params.

    The round after the last, where the plan has one, is the evaluation: its sum is of figures about held-out
    records, not of updates.
    """

    plan: Plan
    run: bytes
    round: int
    attempt: int
    members: tuple[Member, ...]
    dimension: int

    @property
    def place(self) -> tuple[bytes, int, int]:
        """Run, round and attempt: in this order, later is greater within a run."""
        return self.run, self.round, self.attempt

    @property
    def is_evaluation(self) -> bool:
        """Whether this is the round in which figures about held-out records are summed."""
        return self.round == self.plan.federation.rounds + 1

    @property
    def length(self) -> int:
        """How many numbers a site contributes."""
        return FIGURES if self.is_evaluation else self.dimension

    @property
    def account(self) -> tuple[str, int]:
        """The run and round under which a journal has this: an evaluation is charged as a run of its own."""
        run = self.run.hex()
        return (evaluation_run(run), 1) if self.is_evaluation else (run, self.round)

    @cached_property
    def parameters(self) -> Parameters:
        """Threshold, survivors needed and ring of the secure aggregation."""
        return Parameters.choose(
            tuple(member.site for member in self.members),
            colluders=self.plan.secure_aggregation.colluders,
            dropouts=self.plan.secure_aggregation.dropouts,
            ring_bits=self.codec.ring_bits,
            length=self.length,
        )

    @cached_property
    def mechanism(self) -> GaussianMechanism | None:
        """What makes a release private, or None where the plan says `noise = "none"`.

        With distributed noise the guarantee counts only on the shares that cannot be missing or known to
        the adversary: those of the survivors the protocol insists on, less the colluders.
        """
        privacy = self.plan.privacy
        if privacy.clipping_norm is None:
            return None
        shares = 1
        if privacy.noise == "distributed":
            shares = required_survivors(self.plan, len(self.members)) - self.plan.secure_aggregation.colluders
        if self.is_evaluation:
            z = evaluation_event(self.plan).noise_multiplier
            return GaussianMechanism(FIGURES_NORM, z, 1.0, shares, FIGURES)
        return GaussianMechanism(
            clipping_norm=privacy.clipping_norm,
            noise_multiplier=planned_noise_multiplier(self.plan),
            sample_rate=sample_rate(self.plan),
            shares=shares,
            dimension=self.dimension,
        )

    @cached_property
    def codec(self) -> Codec:
        """How one site's contribution becomes ring integers, with room for the whole cohort."""
        cohort = len(self.members)
        if self.mechanism is None or self.noises_each_step:
            limit = 1 << (FIXED_POINT_BITS - 1)
            return Codec(step=FIXED_POINT_BOUND / limit, limit=limit, headroom=0, cohort=cohort)
        reach = math.ceil(self.contribution_bound / self.mechanism.step)
        return Codec(step=self.mechanism.step, limit=reach, headroom=cohort * MAX_DRAW, cohort=cohort)

    @cached_property
    def step_codec(self) -> Codec:
        """The grid on which a site noises one local step, where it noises each step by itself."""
        if self.mechanism is None:
            raise UnsafeParameters("a plan without privacy has no noise grid")
        reach = math.ceil(self.contribution_bound / self.mechanism.step)
        return Codec(step=self.mechanism.step, limit=reach, headroom=MAX_DRAW, cohort=1)

    @property
    def noises_each_step(self) -> bool:
        """Each local step is a release of its own: noise for a record, or a patient, added at the site."""
        each = self.plan.privacy.unit != "client" and self.plan.privacy.noise == "site"
        return each and not self.is_evaluation

    @property
    def sums_gradients(self) -> bool:
        """The cohort's sum is a sum of clipped gradients of records, or patients, not of local updates."""
        privacy = self.plan.privacy
        once = privacy.unit != "client" and privacy.noise in ("distributed", "central")
        return once and not self.is_evaluation

    @property
    def contribution_bound(self) -> float:
        """Largest magnitude of one coordinate of one site's clipped sum: norm times the most records in a batch.

        A Poisson batch above the bound (eight standard deviations over its mean) is projected into the box,
        which cannot raise the sensitivity: a projection onto a convex set moves no two points apart.
        """
        if self.is_evaluation:
            return FIGURES_NORM * max(member.size for member in self.members)
        norm = self.plan.privacy.clipping_norm or 0.0
        return norm if self.plan.privacy.unit == "client" else norm * self.largest_batch

    @property
    def largest_batch(self) -> int:
        """Records, or patients, in the largest batch that counts in full."""
        largest = max(member.size for member in self.members)
        expected = self.plan.training.sample_rate * largest
        return min(largest, math.ceil(expected + 8 * math.sqrt(expected) + 8))

    def weight(self, site: str) -> float:
        """A site's public weight in a mean of updates, in (0, 1]."""
        if self.plan.cohort.weights == "uniform":
            return 1.0
        sizes = {member.site: member.size for member in self.members}
        return sizes[site] / max(sizes.values())

    def size(self, site: str) -> int:
        """The number of records a site declared in public."""
        return next(member.size for member in self.members if member.site == site)

    def question(self, params: bytes) -> bytes:
        """32 bytes of what a round asks of a site, the same in every attempt: params, cohort, declared sizes.

        A site answers one question a round. Grid, weights and share of the noise follow from the cohort, so the
        stored answer would be wrong in another one, with less noise on it than was agreed.
        """
        return digest("federation/question/2", Invitation(self.members).to_bytes(), params_digest(params))

    @cached_property
    def session(self) -> bytes:
        """32 bytes that all keys of this attempt are bound to: what is known before the params are."""
        place = Writer().fixed(self.run).u32(self.round).u32(self.attempt).u64(self.dimension).finish()
        cohort, calibration = Invitation(self.members).to_bytes(), noise_text(self.plan).encode()
        return digest("federation/terms/2", self.plan.canonical(), place, cohort, calibration)

    def context(self, params: bytes) -> bytes:
        """32 bytes that the masks are bound to besides: the params, and how an update becomes integers."""
        codec = Writer().u8(self.codec.ring_bits).u64(self.codec.limit).u64(self.codec.headroom).finish()
        return digest("federation/context/2", params_digest(params), codec)


def evaluation_run(run: str) -> str:
    """The name under which the evaluation of a run is charged."""
    return f"{run}/evaluation"


def required_survivors(plan: Plan, cohort: int) -> int:
    """How many of `cohort` sites must answer to the end."""
    names = tuple(f"{index:05d}" for index in range(cohort))
    rules = plan.secure_aggregation
    chosen = Parameters.choose(
        names, colluders=rules.colluders, dropouts=rules.dropouts, ring_bits=32, length=1
    )
    return chosen.required


def params_bytes(params: Tensor) -> bytes:
    """The canonical bytes of a flat params vector: little-endian float32."""
    return params.detach().to(torch.float32).numpy().astype("<f4").tobytes()


def params_from_bytes(data: bytes, dimension: int) -> Tensor:
    """The vector of canonical bytes; MalformedMessage if the length or a value cannot be params."""
    if len(data) != 4 * dimension:
        raise MalformedMessage(f"params of {len(data)} bytes do not fit a model of {dimension} parameters")
    params = torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32))
    if not bool(torch.isfinite(params).all()):
        raise MalformedMessage("params are not finite")
    return params


def params_digest(data: bytes) -> bytes:
    """32 bytes that stand for params: in the mask keys, in the journal and in receipts."""
    return digest("federation/params/1", data)
