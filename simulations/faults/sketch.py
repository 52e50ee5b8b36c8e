"""A round without messages and cryptography, by the rules of the server: who is in its sum, and who is lost.

`Sketch` is a `Coordinator` whose machine counts who answered, and whose frames say what they are and nothing else.
So attempts, absence, patience and lost rounds are those of `server`, and stated once. What a sketch does not know:
on a ring (cohorts above 128) the machines also give up if chance takes too many neighbors of one site, which its
degree is chosen against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.round.messages import Frame, Kind
from federation.round.parts import Sum
from federation.round.terms import Terms
from federation.round.transport import Outgoing
from privacy.mechanism.encoding import RingVector
from privacy.roster import Roster
from privacy.secagg.parameters import Parameters
from privacy.secagg.server import Outgoing as MachineOutgoing
from privacy.secagg.server import Phase, ServerMachine, TooFew
from server.coordinator import Coordinator
from server.grouped import Attempt, Grouped
from server.memory.heads import Heads
from server.playing import Members, Setting
from server.sessions import Lines
from server.voice import Place
from simulations.faults.guests import Guests, frame_of, kind_of

SumOf = Callable[[Terms, tuple[str, ...]], Sum]  # the terms of a sum and the sites in it -> the sum
Void = Callable[[Terms], None]
KEPT = 8  # cohorts whose terms are known

_NEXT = {
    Phase.ADVERTISE: Phase.SHARE,
    Phase.SHARE: Phase.MASK,
    Phase.MASK: Phase.COMMIT,
    Phase.COMMIT: Phase.REVEAL,
    Phase.REVEAL: Phase.DONE,
}


class Count:
    """What `ServerMachine` makes of who answers, step by step."""

    def __init__(self, parameters: Parameters) -> None:
        self.phase = Phase.ADVERTISE
        self.result: RingVector | None = None
        self.opened: None = None
        self.blame: dict[str, Exception] = {}
        self.faulty: dict[str, str] = {}
        self._rules = parameters
        self._expected, self._seen = set(parameters.members), set[str]()
        self._sharers, self._masked = frozenset[str](), frozenset[str]()

    def bind(self, context: bytes) -> None:
        """Nothing is masked."""

    @property
    def survivors(self) -> tuple[str, ...]:
        """The sites whose vectors are in the sum; empty before it is settled."""
        settled = self.phase in (Phase.COMMIT, Phase.REVEAL, Phase.DONE)
        return tuple(sorted(self._masked)) if settled else ()

    def receive(self, sender: str, _: bytes) -> list[MachineOutgoing]:
        """Take one answer."""
        if self.phase not in _NEXT or sender not in self._expected:
            return []
        self._seen.add(sender)
        return self._advance() if self._expected <= self._seen else []

    def deadline(self) -> list[MachineOutgoing]:
        """Go on without those who have not answered; raises TooFew."""
        return self._advance() if self.phase in _NEXT else []

    def leave(self, sender: str) -> list[MachineOutgoing]:
        """Do not wait for a site that says it will not answer; may raise TooFew."""
        if self.phase not in _NEXT or sender in self._seen:
            return []
        self._expected.discard(sender)
        return self._advance() if self._expected <= self._seen else []

    def _advance(self) -> list[MachineOutgoing]:
        rules = self._rules
        needed = {Phase.COMMIT: rules.quorum, Phase.REVEAL: rules.threshold}.get(self.phase, rules.required)
        if len(self._seen) < needed:
            error = TooFew(len(self._seen), needed, self.phase)
            self.phase = Phase.ABORTED
            raise error
        following = _NEXT[self.phase]
        if self.phase is Phase.SHARE:
            self._sharers = frozenset(self._seen)
        elif self.phase is Phase.MASK:
            self._masked = frozenset(self._seen)
            following = Phase.REVEAL if self._masked == self._sharers else Phase.COMMIT
        self.phase = following
        self._expected, self._seen = self._expected & self._seen, set()
        if following is Phase.DONE:
            self.result = np.zeros(0, np.uint64)
            return []
        return [MachineOutgoing(site, b"") for site in sorted(self._expected)]


@dataclass(frozen=True)
class Stage:
    """What sketches share: lines, the sites at their other ends, and who computes. `void`: there will be no sum."""

    lines: Lines
    guests: Guests
    sum_of: SumOf
    void: Void


class Sketch(Coordinator):
    """An attempt of which only the sum is computed."""

    def __init__(self, terms: Terms, stage: Stage) -> None:
        voice = stage.lines.voice
        super().__init__(terms, voice.sites, voice.key, stage.lines.heads)
        self._stage = stage
        self._riding: dict[str, bytes] = {}  # frames of the next round, by whom they were sent to
        self._said: dict[Kind, bytes] = {}

    def _made(self, roster: Roster) -> ServerMachine:  # noqa: ARG002 - nobody signs
        return cast(ServerMachine, Count(self.terms.parameters))

    def sums(self) -> tuple[Sum, ...]:
        """The sum over the survivors, computed now."""
        return (self._stage.sum_of(self.terms, self.survivors),) if self.is_done else ()

    def forget(self) -> None:
        """There will be no sum."""
        self._stage.void(self.terms)

    def _received(self, site: str, data: bytes) -> list[Outgoing]:
        frame = frame_of(data)
        if (frame.run, frame.round, frame.attempt) != self.terms.place:
            return []
        if frame.kind is Kind.ABORT:
            return self._aborted(site, bytes(frame.body))
        if frame.kind is not self._due:
            return []
        self._answered.add(site)
        if frame.kind in (Kind.MASKED, Kind.REVEAL) and (asked := self._riding.pop(site, b"")):
            said = self._stage.guests.answer(site, asked)
            if kind_of(said) is not Kind.ABORT:  # a refusal does not ride along
                self._go_on(lambda following: following.receive(site, said))
        return self._advance(lambda: self._machine.receive(site, b""))

    def _invitations(self) -> list[Outgoing]:
        return [self._frame(Kind.INVITE, member.site, b"") for member in self.terms.members]

    def _frame(self, kind: Kind, site: str, _: bytes) -> Outgoing:
        if kind in (Kind.BROADCAST, Kind.CERTIFICATE) and self.following is not None:
            self._riding[site] = self.following._onward.pop(site, b"")
        if kind not in self._said:
            self._said[kind] = data = Frame(kind, *self.terms.place, body=self._group).to_bytes()
            self._stage.guests.show(data, frozenset(self._shows(kind)))
        return Outgoing(site, self._said[kind])

    @property
    def _group(self) -> bytes:
        """What tells the frames of one group from those of another."""
        return self.terms.members[0].site.encode()

    def _shows(self, kind: Kind) -> tuple[str, ...]:
        if kind is Kind.INVITE:
            return self.terms.names
        return self.survivors if kind is Kind.CERTIFICATE else ()


class _Groups(Grouped):
    def __init__(self, terms: Terms, stage: Stage) -> None:
        self._stage = stage
        super().__init__(terms, stage.lines.voice.sites, stage.lines.voice.key, stage.lines.heads)

    def _part(self, group: Terms, roster: Roster, key: Ed25519PrivateKey, heads: Heads) -> Coordinator:  # noqa: ARG002
        return Sketch(group, self._stage)

    def forget(self) -> None:
        for group in self.terms.groups:
            self._stage.void(group)


class Greetings(Lines):
    """Lines to sites that consent to whatever they are greeted with."""

    def greet(self, at: Place, pause: float) -> None:
        """See `Lines`."""
        due = self.attendance.absence.due(at[0] + 1, self._clock(), pause)
        hello = Frame(Kind.HELLO, self.voice.run, *at).to_bytes()
        self.send(Outgoing(site, hello) for site in due)

    def _is_back(self, site: str, data: bytes) -> bool:  # noqa: ARG002
        return frame_of(data).kind is Kind.WELCOME


@dataclass(frozen=True)
class Sketched(Setting):
    """The setting of a run whose attempts are sketches."""

    stage: Stage = field(kw_only=True)
    known: dict[Members, Terms] = field(default_factory=dict, kw_only=True)

    def coordinator(self, ahead: int, attempt: int, cohort: Members) -> Coordinator:
        """See `Setting`."""
        return Sketch(self._terms(ahead, attempt, cohort), self.stage)

    def attempt(self, number: int, cohort: Members) -> Attempt:
        """See `Setting`."""
        terms = self._terms(1, number, cohort)
        return (Sketch if len(terms.groups) == 1 else _Groups)(terms, self.stage)

    def _terms(self, ahead: int, attempt: int, cohort: Members) -> Terms:
        """The terms of an attempt. What follows from plan and cohort is worked out once for a cohort."""
        state = self.state
        if cohort not in self.known:
            if len(self.known) >= KEPT:
                self.known.clear()
            first = Terms(self.plan, state.run, 1, 1, cohort, state.params.numel())
            self.known[cohort] = first
        return self.known[cohort].again(state.round + ahead, state.attempt + attempt)
