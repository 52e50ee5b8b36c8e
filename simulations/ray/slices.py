"""A slice of a sum's sites as a message to whoever trains it, and the answer: a partial sum, or why there is none.

Out go params and the terms of the round, back comes the sum of the slice's ring integers: masks would cancel in it,
and simulated sites have no secrets from the process that plays them. Records do not travel: whoever trains a slice
reads them where the message says, and a keyed fingerprint shows that they are the records that the run began with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from torch import Tensor

from federation.errors import (
    CheckpointError,
    CodeError,
    DataError,
    FederationError,
    InputError,
    PlanError,
    TaskError,
    TrainingDiverged,
    TransportError,
)
from federation.model.params import params_bytes, params_from_bytes
from federation.model.task import Dataset
from federation.plan.plan import Plan
from federation.round.messages import Invitation, Member
from federation.round.terms import Terms
from federation.round.transport import LARGEST
from privacy.errors import MalformedMessage, PrivacyError, UnsafeParameters
from privacy.mechanism.encoding import RingVector
from privacy.wire import Reader, Writer
from simulations.fingerprints import fingerprint, parts_of
from simulations.inputs import code_of

_KEY: Final = 32
_WHAT: Final = "federation/ray/slice/1"
_RAISED: Final = {
    kind.__name__: kind
    for kind in (
        CheckpointError,
        CodeError,
        DataError,
        InputError,
        PlanError,
        TaskError,
        TrainingDiverged,
        UnsafeParameters,
    )
}


@dataclass(frozen=True)
class Work:
    """What a run's slices have in common: plan, folder of sites, and the key of the fingerprints."""

    plan: str
    sites: str
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Slice:
    """Some of the sites of a sum in one round. `members` are all of the sum, `cohort` all of the round."""

    work: Work
    run: bytes
    round: int
    attempt: int
    members: bytes
    cohort: bytes
    names: tuple[str, ...]
    seen: str  # fingerprint of the records of these sites
    params: Tensor = field(repr=False)
    lost: int = 0  # sites of the sum that contribute nothing

    @classmethod
    def of(
        cls, work: Work, terms: Terms, names: Sequence[str], seen: str, params: Tensor, lost: int = 0
    ) -> Slice:
        """Of these sites of a sum."""
        members, cohort = Invitation(terms.members).to_bytes(), Invitation(terms.cohort).to_bytes()
        return cls(work, *terms.place, members, cohort, tuple(names), seen, params, lost)

    def terms(self, plan: Plan, last: Terms | None = None) -> Terms:
        """The terms of the sum. What those of the `last` round know of the same cohort is taken over."""
        cohorts = [_invited(data) for data in (self.members, self.cohort)]
        known = (last.run, [last.members, last.cohort]) if last is not None else None
        if last is not None and known == (self.run, cohorts):
            return last.again(self.round, self.attempt)
        dimension = self.params.numel() - plan.privacy.adapts  # the norm is behind the params
        return Terms(plan, self.run, self.round, self.attempt, cohorts[0], dimension, cohorts[1])

    def to_bytes(self) -> bytes:
        """The message."""
        out = Writer().text(_WHAT).blob(self.work.plan.encode()).blob(self.work.sites.encode())
        out.fixed(self.work.key).fixed(self.run).u32(self.round).u32(self.attempt)
        out.blob(self.members).blob(self.cohort).u32(len(self.names))
        for name in self.names:
            out.text(name)
        return out.text(self.seen).blob(params_bytes(self.params)).u32(self.lost).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Slice:
        """The slice of a message. MalformedMessage for anything else."""
        read = Reader(data)
        if read.text() != _WHAT:
            raise MalformedMessage("a slice of another version")
        work = Work(read.text(LARGEST), read.text(LARGEST), read.fixed(_KEY))
        place = read.fixed(16), read.u32(), read.u32(), read.blob(LARGEST), read.blob(LARGEST)
        names = tuple(read.text() for _ in range(read.u32()))
        seen, params, lost = read.text(), read.blob(LARGEST), read.u32()
        read.finish()
        return cls(work, *place, names, seen, params_from_bytes(params, len(params) // 4), lost)


def _invited(data: bytes) -> tuple[Member, ...]:
    return Invitation.from_bytes(data).members


def seen_at(key: bytes, data: Dataset, held_out: Dataset | None) -> str:
    """A keyed fingerprint of a site's records."""
    return fingerprint(key, [*parts_of(data), *parts_of(held_out)])


def seen_of(key: bytes, plan: Plan, sites: Iterable[str]) -> str:
    """The same of some sites, from theirs, and of the user's code that computes on them."""
    return fingerprint(key, [code_of(plan), *(each.encode() for each in sites)])


def cut(names: Sequence[str], parts: int) -> Iterator[tuple[str, ...]]:
    """At most so many slices of about one size, in order."""
    ends = [len(names) * part // parts for part in range(parts + 1)]
    for start, end in pairwise(ends):
        if start < end:
            yield tuple(names[start:end])


def summed(vector: RingVector) -> bytes:
    """The answer with a partial sum."""
    return Writer().u8(1).blob(vector.astype("<u8").tobytes()).finish()


def refused(error: FederationError | PrivacyError) -> bytes:
    """The answer of a slice that has no sum: an error of ours, which says nothing of data."""
    words = (type(error).__name__, str(error).removesuffix(f"; {error.hint}"), error.hint)
    out = Writer().u8(0)
    for word in words:
        out.blob(word.encode())
    return out.finish()


def total(answers: Iterable[bytes], length: int) -> RingVector:
    """The sum of all slices, modulo 2^64. What a slice raised is raised here."""
    found = np.zeros(length, np.uint64)
    for answer in answers:
        read = Reader(answer)
        if not read.u8():
            name, message, hint = (read.text(LARGEST) for _ in range(3))
            raise _RAISED.get(name, TransportError)(message, hint=hint)
        part = np.frombuffer(read.blob(LARGEST), "<u8")
        if part.shape != found.shape:
            raise MalformedMessage("a partial sum of another length")
        found += part  # wraps at 2^64, a multiple of 2^ring_bits
    return found
