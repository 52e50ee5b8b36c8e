"""A HELLO, believed or refused: before it is, nothing of it is worked on, written down or let go for it."""

from __future__ import annotations

from dataclasses import dataclass

from clients.greeting.greetings import Greetings
from clients.trust import Trust
from federation.plan.plan import Plan
from federation.round.messages import Frame, Hello, Member
from federation.round.signed import greeting_digest, plan_digest, require_current, require_obeyed
from privacy.ledger.heads import Head
from privacy.roster import Roster, SignedRoster


@dataclass(frozen=True)
class Greeting:
    """What a genuine HELLO says. `stands`: the rounds that are done, and the number of attempts so far."""

    run: bytes
    plan: Plan
    signed: SignedRoster
    roster: Roster
    heads: tuple[Head, ...]
    issued: int
    stands: tuple[int, int]
    digest: bytes


def greeted(frame: Frame, trust: Trust, member: Member, memory: Greetings, now: float) -> Greeting:
    """The greeting, if the roster is genuine, its coordinator signed this, and it is of now; else ProtocolError."""
    hello = Hello.from_bytes(frame.body)
    signed = SignedRoster.from_bytes(hello.roster)
    roster = trust.accept(signed, member)
    require_obeyed(frame, roster.coordinator, plan_digest(hello), roster.root)
    require_current(hello, now)
    memory.check(roster.coordinator, hello.issued, frame.run)
    plan, stands = Plan.from_canonical(hello.plan), (frame.round, frame.attempt)
    return Greeting(
        frame.run, plan, signed, roster, hello.heads, hello.issued, stands, greeting_digest(frame)
    )
