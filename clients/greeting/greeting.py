"""A HELLO, believed or refused: before it is, nothing of it is worked on, written down or let go for it."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.greeting.greetings import Greetings
from clients.trust import Trust
from federation.plan.plan import Plan
from federation.round.messages import Frame, Hello, Member, Welcome
from federation.round.signed import (
    greeting_digest,
    plan_digest,
    require_current,
    require_obeyed,
    welcome_signed,
)
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


def agreed(
    greeting: Greeting, member: Member, head: Head, dimension: int, identity: Ed25519PrivateKey
) -> Welcome:
    """The site's signed consent to just this greeting. `head` names the ledger that the run is charged in.

    `dimension` is the number of params of the site's own model of the plan, which an auditor believes.
    """
    plan, root = greeting.plan, greeting.roster.root
    welcome = Welcome(member, plan.digest, plan.kind.noise_text, root, greeting.digest, head, dimension)
    return welcome_signed(welcome, greeting.run, identity)
