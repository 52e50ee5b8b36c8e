"""Takes a site's place in a rehearsal: the same machines and the same keys, with made-up records and no ledger.

    the coordinator greets with the rehearsal of a plan      -> the policy has to allow the plan itself
    keys, shares, masks, votes, a sum                        -> as in a run, over `clients.rehearsing.records`
    CLOSE, or a run begins, or an hour is over               -> all of it is dropped

Nothing of the site's data can be in a reply, because nothing of it is within reach here: no path to a file, no
journal, no registry, and the only number is the declared size, which the roster shows to everybody. Nothing stays:
what stands for a journal is in memory, and no roster and no greeting is remembered on disk.

What a rehearsal signs is good for nothing else. Adverts, votes and consents are over the digest of the plan, which
is another, and heads are those of no ledger (`privacy.ledger.heads`). A run goes before a rehearsal: while one is
open here none is played, and the rehearsal ends when a run begins.

It is bounded, since a coordinator could ask for rehearsals all day: `policy.rehearsals` a day, one at a time, of
two rounds. Only a greeting that the coordinator's key signed is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from clients.greeting.greeting import greeted
from clients.greeting.greetings import Greetings
from clients.greeting.refusals import reason_of
from clients.journal.journal import Journal
from clients.policy import Policy, consent
from clients.rehearsing.records import made_records
from clients.rules.approval import Approval
from clients.timing import padded
from clients.training.work import Trainer, site_stream
from clients.trust import RosterMemory, Trust
from federation.log import said, warn
from federation.model.task import build_task
from federation.plan.plan import Plan
from federation.round.messages import MAX_HELLO, Frame, Hello, Kind, Member, abort_body
from privacy.errors import LedgerRefusal, MalformedMessage, PolicyViolation
from privacy.roster import Roster

A_DAY, LONGEST = 86_400.0, 3_600.0
_MARK = (
    b'"rehearsal":true'  # in canonical JSON it stands for the key alone: within a text, quotes are escaped
)


class Player(Protocol):
    """A site as far as it is needed here: `clients.site.Site`."""

    pace: float

    def receive(self, data: bytes) -> bytes: ...
    def close(self) -> None: ...
    @property
    def largest(self) -> int: ...


class MakesPlayer(Protocol):
    """Puts a site together; with `is_timed` it measures how long a round takes, as it would in a run."""

    def __call__(
        self,
        *,
        member: Member,
        trust: Trust,
        policy: Callable[[], Policy],
        journal: Journal,
        load: Callable[[Plan], Trainer],
        greetings: Greetings,
        clock: Callable[[], float],
        is_timed: bool,
    ) -> Player: ...


class _Reading(RosterMemory):
    """Refuses what a run would refuse, and remembers nothing."""

    def remember(self, roster: Roster, pinned: frozenset[bytes]) -> None:
        self.check(roster, pinned)


@dataclass
class _Playing:
    run: bytes
    player: Player
    receive: Callable[[bytes], bytes]
    since: float


@dataclass
class Understudy:
    """One rehearsal at a time. `policy` is the site's, as it stands at this moment."""

    member: Member
    trust: Trust = field(repr=False)
    policy: Callable[[], Policy]
    make: MakesPlayer
    clock: Callable[[], float] = time.time
    wait: Callable[[float], None] = time.sleep
    encoders: tuple[Path, ...] = ()  # that everybody may have; they read what is made up
    _greetings: Greetings = field(default_factory=Greetings, init=False, repr=False)
    _counted: dict[bytes, float] = field(
        default_factory=dict, init=False, repr=False
    )  # by run, when it began
    _playing: _Playing | None = field(default=None, init=False, repr=False)

    def answer(self, data: bytes, is_busy: Callable[[], bool]) -> bytes | None:
        """The reply to a frame of a rehearsal; None for every other one. Never raises.

        `is_busy`: whether a run is open at this site.
        """
        try:
            frame = Frame.header(data)
            if frame.kind is not Kind.HELLO:
                playing = self._now()
                return (
                    None
                    if playing is None or frame.run != playing.run
                    else self._played(playing, frame, data)
                )
            if not _is_rehearsal(data):
                return None
        except MalformedMessage:
            return None
        try:
            return self._greeted(Frame.from_bytes(data), data, is_busy)
        except (Exception, SystemExit) as error:  # nothing may leave but the reason
            reason = reason_of(error if isinstance(error, Exception) else RuntimeError())
            warn(
                "refused",
                run=frame.run.hex(),
                rehearsal="yes",
                reason=reason.name.lower(),
                detail=said(error),
            )
            return frame.reply(Kind.ABORT, abort_body(reason)).to_bytes()

    def leave(self) -> None:
        """Drop the rehearsal, if there is one."""
        playing, self._playing = self._playing, None
        if playing is not None:
            playing.player.close()

    @property
    def largest(self) -> int:
        """Bytes of the longest request that a rehearsal can bring now."""
        return 0 if self._playing is None else self._playing.player.largest

    def _now(self) -> _Playing | None:
        """The rehearsal that is played, unless it has lasted too long."""
        if self._playing is not None and self.clock() - self._playing.since > LONGEST:
            self.leave()
        return self._playing

    def _played(self, playing: _Playing, frame: Frame, data: bytes) -> bytes:
        reply = playing.receive(data)
        if frame.kind is Kind.CLOSE and Frame.header(reply).kind is Kind.CLOSED:
            self.leave()
        return reply

    def _greeted(self, frame: Frame, data: bytes, is_busy: Callable[[], bool]) -> bytes:
        """The consent to a rehearsal. Nothing is done for a greeting that is not the coordinator's, and of now."""
        trust = self._trust
        greeting = greeted(frame, trust, self.member, self._greetings, self.clock())
        trust.require_of_its_kind(greeting.plan)
        if is_busy():
            raise LedgerRefusal(
                "a run is open at this site", hint="rehearse before it begins, or when it is over"
            )
        policy = self.policy()
        consent(greeting.plan.rehearsed(), policy)
        playing = self._now()
        if playing is None or playing.run != greeting.run:
            self._count(greeting.run, policy.rehearsals)
            self.leave()
            playing = self._playing = self._opened(greeting.run, greeting.plan, trust)
        return playing.receive(data)

    def _count(self, run: bytes, most: int) -> None:
        """One more rehearsal today. PolicyViolation if that is too many."""
        now = self.clock()
        self._counted = {known: since for known, since in self._counted.items() if now - since < A_DAY}
        if run not in self._counted and len(self._counted) >= most:
            message = f"policy.rehearsals: {len(self._counted)} rehearsals within a day, the limit {most}"
            raise PolicyViolation(message, hint="wait, or raise policy.rehearsals")
        self._counted.setdefault(run, now)

    def _opened(self, run: bytes, plan: Plan, trust: Trust) -> _Playing:
        task, site = build_task(plan), self.member.site
        size = self.member.size  # as is declared in public
        records = made_records(plan, task, site, size, self.encoders)
        trainer = Trainer(task, records, partial(site_stream, plan, site), records)
        player = self.make(
            member=self.member,
            trust=trust,
            policy=partial(self._policy, plan),
            journal=Journal.for_rehearsal(site, self.trust.identity),
            load=lambda _: trainer,
            greetings=self._greetings,
            clock=self.clock,
            is_timed=True,
        )
        receive = padded(player.receive, lambda: player.pace, wait=self.wait)
        return _Playing(run, player, receive, self.clock())

    def _policy(self, plan: Plan) -> Policy:
        """The site's policy, which has to allow the plan; and of the rehearsal of it, one run."""
        policy = self.policy()
        consent(plan.rehearsed(), policy)
        return policy.model_copy(update={"plans": (Approval(digest=plan.digest),)})

    @property
    def _trust(self) -> Trust:
        memory = self.trust.memory
        return replace(self.trust, memory=None if memory is None else _Reading(memory.path), rehearses=True)


def _is_rehearsal(data: bytes) -> bool:
    """Whether a HELLO is of a rehearsal. It is believed later."""
    if len(data) > MAX_HELLO or _MARK not in data:
        return False
    return _MARK in Hello.from_bytes(Frame.from_bytes(data).body).plan
