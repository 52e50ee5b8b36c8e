"""A site put together: identity, policy, data, journal; one request in, one reply out.

`Site.receive` is all that the outside can reach, whatever carries the bytes. It answers every request with one
frame and never raises: a refusal is an ABORT with a reason from a fixed list, because an exception's text could
carry data. What really happened is kept in `last_error` for the people at the site.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from clients.participant import Participant, settle
from clients.policy import Policy, consent
from clients.release import Trainer, release
from federation.claim import noise_text, planned_event
from federation.errors import TrainingDiverged
from federation.journal import Journal
from federation.layout import Layout
from federation.messages import Frame, Kind, Member, Reason, Welcome, abort_body
from federation.plan import Plan
from federation.terms import Terms
from privacy.budget import Budget
from privacy.encoding import EncodingOverflow, RingVector
from privacy.errors import BudgetExceeded, FaultyServer, PolicyViolation, ProtocolError
from privacy.wire import digest

Entropy = Callable[[int], bytes]
Load = Callable[
    [Plan], Trainer
]  # consented plan -> model, data, streams; DataError and TaskError are the site's own


@dataclass
class _Joined:
    """The run this site has consented to."""

    run: bytes
    plan: Plan
    trainer: Trainer
    dimension: int
    participant: Participant | None = None


@dataclass
class Site:
    """One institution's side of every run. Owns the data, the keys of each round and the journal."""

    member: Member
    policy: Policy
    journal: Journal
    load: Load
    entropy: Entropy = os.urandom
    last_error: Exception | None = field(default=None, init=False)
    _joined: _Joined | None = field(default=None, init=False, repr=False)

    def receive(self, data: bytes) -> bytes:
        """The reply to a request of the server."""
        frame = Frame(Kind.ABORT, bytes(16), 0, 0)
        try:
            frame = Frame.from_bytes(data)
            return self._answer(frame).to_bytes()
        except Exception as error:  # nothing may leave but the reason
            self.last_error = error
            return frame.reply(Kind.ABORT, abort_body(_reason(error))).to_bytes()

    def close(self) -> None:
        """Let go of the journal."""
        self.journal.close()

    def join(self, run: bytes, plan: Plan) -> None:
        """Consent to a run: policy first, then the whole plan's budget, then the data. Idempotent for a run."""
        if self._joined is not None and self._joined.run == run and self._joined.plan == plan:
            return
        consent(plan, self.policy)
        budget = Budget(self.policy.epsilon_max, self.policy.delta_max)
        self.journal.reserve(run.hex(), plan.digest, planned_event(plan), plan.federation.rounds, budget)
        trainer = self.load(plan)
        self._joined = _Joined(run, plan, trainer, Layout.of(trainer.task.model()).dimension)

    def release(self, terms: Terms, params: Tensor) -> RingVector:
        """What this site adds to the sum of a round it joined."""
        joined = self._joined_run(terms.run)
        try:
            return release(terms, self.member.site, params, joined.trainer, self.journal)
        except EncodingOverflow:
            raise TrainingDiverged(
                "a local update left the range of the ring", hint="lower training.learning_rate"
            ) from None

    def _answer(self, frame: Frame) -> Frame:
        if frame.kind is Kind.HELLO:
            plan = Plan.from_canonical(frame.body)
            self.join(frame.run, plan)
            welcome = Welcome(self.member, plan.digest, noise_text(plan))
            return frame.reply(Kind.WELCOME, welcome.to_bytes())
        joined = self._joined_run(frame.run)
        current = joined.participant
        if frame.kind is Kind.INVITE:
            current = joined.participant = self._invited(joined, frame)
            return frame.reply(Kind.ADVERT, current.advertise())
        if current is None or current.terms.place != (frame.run, frame.round, frame.attempt):
            raise FaultyServer("a message of a round that this site was not invited to")
        return current.receive(frame)

    def _joined_run(self, run: bytes) -> _Joined:
        if self._joined is None or self._joined.run != run:
            raise FaultyServer("a message of a run that this site has not joined")
        return self._joined

    def _invited(self, joined: _Joined, frame: Frame) -> Participant:
        terms = settle(joined.plan, frame, self.member, joined.dimension)
        current = joined.participant
        if current is not None and current.terms == terms:
            return current  # the same invitation again: the same keys, never a second pair for one attempt
        if current is not None and current.terms.place >= terms.place:
            raise FaultyServer("an invitation to a round or an attempt that is over")
        if len(terms.members) < self.policy.cohort_minimum:
            raise PolicyViolation(
                f"policy.cohort_minimum is {self.policy.cohort_minimum}, the cohort has {len(terms.members)} sites"
            )
        return Participant(
            terms, self.member.site, entropy=self.entropy, release=self.release, opening=self._opening
        )

    def _opening(self, terms: Terms, survivors: bytes) -> None:
        self.journal.reveal(terms.run.hex(), terms.round, digest("federation/survivors/1", survivors).hex())


def _reason(error: Exception) -> Reason:
    kinds: tuple[tuple[type[Exception], Reason], ...] = (
        (BudgetExceeded, Reason.BUDGET),
        (PolicyViolation, Reason.POLICY),
        (ProtocolError, Reason.PROTOCOL),
        (TrainingDiverged, Reason.DIVERGED),
    )
    return next((reason for kind, reason in kinds if isinstance(error, kind)), Reason.FAILED)
