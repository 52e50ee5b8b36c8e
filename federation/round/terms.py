"""The terms of a round: all that follows from plan, cohort and params. Every party derives the same.

A site takes none of it on the server's word: it computes threshold, grid, noise and ring from the plan that it
approved and the cohort that it was shown, and binds every mask to a digest of them. A server that tells two sites
different things gets masks that do not cancel, that is, noise (docs/protocol.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from federation.kinds.base import Kind, Parties
from federation.model.shape import params_digest
from federation.plan.plan import Plan
from federation.round.cohort import parties_of
from federation.round.groups import sums_of
from federation.round.messages import Invitation, Member
from federation.round.plays import account_name, fold_of, rounds_before
from privacy.mechanism.encoding import Codec
from privacy.mechanism.excess import Levels
from privacy.mechanism.gaussian import GaussianMechanism
from privacy.secagg.parameters import Parameters
from privacy.wire import Octets, Writer, digest

_OF_THE_COHORT = {"names", "parameters", "parties", "mechanism", "codec", "_invitation"}


@dataclass(frozen=True)
class Terms:
    """One attempt at one round, as agreed. `dimension` is the number of params.

    `members` are those of one sum. Where the plan cuts the cohort into groups, `cohort` are all who are invited,
    and `groups` has the terms of each group: sizes, noise, thresholds and ring are the group's.

    The round after the last, where the plan has one, is the evaluation: its sum is of figures about held-out
    records, not of updates.
    """

    plan: Plan
    run: bytes
    round: int
    attempt: int
    members: tuple[Member, ...]
    dimension: int
    cohort: tuple[Member, ...] = ()

    @property
    def invited(self) -> tuple[Member, ...]:
        """All who are invited to the round."""
        return self.cohort or self.members

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their ids, in order."""
        return tuple(member.site for member in self.invited)

    @cached_property
    def groups(self) -> tuple[Terms, ...]:
        """The terms of each sum of the round. An evaluation is one sum over all."""
        parts = sums_of(self.plan, self.round, self.names)
        if len(parts) == 1:
            return (self,)
        by_name = {member.site: member for member in self.invited}
        return tuple(
            replace(self, members=tuple(by_name[name] for name in part), cohort=self.invited)
            for part in parts
        )

    def again(self, number: int, attempt: int) -> Terms:
        """The terms of another training round with the same cohort.

        What follows from plan and cohort alone is not worked out anew.
        """
        other = replace(self, round=number, attempt=attempt)
        if not (self.is_evaluation or other.is_evaluation):
            for name in _OF_THE_COHORT & self.__dict__.keys():
                other.__dict__[name] = self.__dict__[name]
        return other

    def of(self, site: str) -> Terms:
        """The terms of the sum that a site of the cohort is in."""
        return next(one for one in self.groups if any(member.site == site for member in one.members))

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
        return self.kind.length(self.parties)

    @property
    def account(self) -> tuple[str, int]:
        """The run and round under which a journal charges this: an evaluation is a run of its own."""
        run = account_name(self.plan, self.run)
        if self.is_evaluation:
            return evaluation_run(run), fold_of(self.plan, self.run) or 1
        return run, rounds_before(self.plan, self.run) + self.round

    @cached_property
    def parameters(self) -> Parameters:
        """Threshold, survivors needed and ring of the secure aggregation."""
        rules = self.plan.secure_aggregation
        return Parameters.choose(
            tuple(member.site for member in self.members),
            colluders=rules.colluders,
            dropouts=rules.dropouts,
            ring_bits=self.codec.ring_bits,
            length=self.length,
            levels=self.parties.lost[1:],
        )

    @property
    def kind(self) -> Kind:
        """What this round releases."""
        figures = self.plan.figures
        return figures if self.is_evaluation and figures is not None else self.plan.kind

    @cached_property
    def parties(self) -> Parties:
        """The public facts of the cohort."""
        sizes = {member.site: member.size for member in self.members}
        return parties_of(self.plan, sizes, self.dimension)

    @property
    def levels(self) -> Levels:
        """The parts of a share of noise, and the levels at which they are needed."""
        return self.kind.levels(self.parties)

    @property
    def takes_out(self) -> bool:
        """Whether noise that a sum does not need is taken out of it again."""
        return len(self.parties.lost) > 1

    @cached_property
    def mechanism(self) -> GaussianMechanism | None:
        """What makes a release private; None where the plan says `noise = "none"`."""
        return self.kind.mechanism(self.parties) if self.plan.is_private else None

    @cached_property
    def codec(self) -> Codec:
        """How one site's contribution becomes ring integers, with room for the whole cohort."""
        return self.kind.codec(self.parties)

    def size(self, site: str) -> int:
        """The number of records a site declared in public."""
        return self.parties.sizes[site]

    def question(self, params: Octets) -> bytes:
        """The request digest: 32 bytes for params, cohort and declared sizes, the same in every attempt.

        A site answers one request per round. Grid, weights and share of the noise follow from the cohort, so a
        stored answer would be wrong for another cohort, with less noise on it than was agreed. The groups follow
        from plan, round and cohort: so does the group of a site.
        """
        return self.question_of(params_digest(params))

    def question_of(self, params: bytes) -> bytes:
        """The same, from the digest of the params."""
        return digest("federation/question/2", self._invitation, params)

    @cached_property
    def _invitation(self) -> bytes:
        return Invitation(self.invited).to_bytes()

    @cached_property
    def session(self) -> bytes:
        """32 bytes that all keys of this attempt are bound to: what every party knows before the params."""
        place = Writer().fixed(self.run).u32(self.round).u32(self.attempt).u64(self.dimension).finish()
        cohort, calibration = self._invitation, self.plan.kind.noise_text.encode()
        return digest("federation/terms/2", self.plan.canonical(), place, cohort, calibration)

    def context(self, params: Octets) -> bytes:
        """32 bytes that the masks are also bound to: the params, and how an update becomes integers."""
        return self.context_of(params_digest(params))

    def context_of(self, params: bytes) -> bytes:
        """The same, from the digest of the params."""
        codec = Writer().u8(self.codec.ring_bits).u64(self.codec.limit).u64(self.codec.headroom).finish()
        return digest("federation/context/2", params, codec)


def evaluation_run(run: str) -> str:
    """The name under which the evaluation of a run is charged."""
    return f"{run}/evaluation"
