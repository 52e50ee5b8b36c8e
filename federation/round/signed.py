"""What is signed in a run, by whom, over what: so that nobody but the coordinator begins, leads or ends anything.

    signature = Sign(key, "secagg/N/" and the frame's kind, run, u32 round ‖ u32 attempt, plan, roster root, what is
    said)

Every request is signed by the coordinator, over its body; a BROADCAST over the digest of its params and the rest,
and what travels beside it is a frame with a signature of its own. A WELCOME is signed by its site, and is the
site's record of consent (`welcome_signed`).

A HELLO says when it was made and until when it counts. Its round and attempt are where the coordinator stands:
rounds that are done, and the number from which it counts attempts. So a site that was away knows how far an
invitation may be ahead.

Clocks differ. A HELLO counts from `CLOCK_SKEW` before it was made to `CLOCK_SKEW` after it expires: ten minutes,
more than any machine with a time service is off, and little enough that a stolen HELLO is of no use the next day.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.model.shape import params_digest
from federation.plan.plan import Plan
from federation.round.messages import Broadcast, Frame, Hello, Kind, Paired, Welcome
from privacy.errors import FaultyServer, MalformedMessage
from privacy.signing import SIGNATURE_BYTES, is_signed, sign
from privacy.suite import SUITE, label
from privacy.wire import Octets, Writer, digest

CLOCK_SKEW: Final = 600
LONGEST: Final = 86_400
"""Seconds for which a HELLO can count: a site of a plan with a longer deadline is greeted again."""
PREPARED: Final = 1
"""The number, counted from a greeting's, of an attempt that the round before prepared; invited ones follow."""
ATTEMPTS_AHEAD: Final = 64
ROUNDS_AHEAD: Final = 64


def ordered(frame: Frame, key: Ed25519PrivateKey, plan: str, root: bytes, said: bytes | None = None) -> Frame:
    """The frame under the coordinator's signature, for a plan (its digest) and a roster (its root).

    `said`: what is signed of the body, if that is known already.
    """
    return replace(frame, signature=sign(key, _label(frame.kind), *_parts(frame, plan, root, said)))


def require_obeyed(frame: Frame, coordinator: bytes, plan: str, root: bytes) -> None:
    """FaultyServer unless this coordinator said just that, at this place, of this plan and roster."""
    parts = _parts(frame, plan, root, None)
    if len(frame.signature) != SIGNATURE_BYTES or not is_signed(
        coordinator, frame.signature, _label(frame.kind), *parts
    ):
        raise FaultyServer(
            f"a {frame.kind.name} that the coordinator's key on the roster did not sign",
            hint="the coordinator has to use the key that the roster names: federation roster add ROSTER ID.pub",
        )


def require_current(hello: Hello, now: float) -> None:
    """FaultyServer for a HELLO of another time, which says what the two clocks say."""
    if not hello.issued < hello.expires <= hello.issued + LONGEST:
        raise FaultyServer(f"a HELLO that counts for other than up to {LONGEST} seconds")
    if now < hello.issued - CLOCK_SKEW:
        ahead = hello.issued - now
        raise FaultyServer(
            f"the HELLO is from the future: by its clock the coordinator is {_span(ahead)} ahead of this machine",
            hint=f"set both clocks; {_span(CLOCK_SKEW)} are allowed",
        )
    if now > hello.expires + CLOCK_SKEW:
        behind = now - hello.expires
        raise FaultyServer(
            f"the HELLO expired {_span(behind)} ago: it is old, or one of the two clocks is wrong",
            hint=f"set both clocks; {_span(CLOCK_SKEW)} are allowed",
        )


def plan_digest(hello: Hello) -> str:
    """The digest of the plan in a HELLO, before it is read as one: `Plan.digest` of its canonical form."""
    return f"sha256:{hashlib.sha256(hello.plan).hexdigest()}"


def greeting_digest(frame: Frame) -> bytes:
    """32 bytes that stand for a HELLO frame, signature and all: a WELCOME answers this one and no older one."""
    return digest(label("greeting"), frame.to_bytes())


def welcome_signed(welcome: Welcome, run: bytes, key: Ed25519PrivateKey) -> Welcome:
    """The consent under the site's signature."""
    return replace(welcome, signature=sign(key, _label(Kind.WELCOME), *_consent(welcome, run)))


def is_consent(
    welcome: Welcome, run: bytes, key: bytes, suite: int = SUITE, *, rehearsed: bool = False
) -> bool:
    """Whether the holder of this key consented so to this run, and showed the head of a ledger of its own."""
    head = welcome.head
    if head.site != welcome.member.site or not head.is_signed_by(key, rehearsed=rehearsed):
        return False
    return is_signed(key, welcome.signature, _label(Kind.WELCOME, suite), *_consent(welcome, run))


def rounds_ahead(plan: Plan, sites: int) -> int:
    """How many rounds an invitation may be ahead of the last that a site knows of.

    A plan that samples its cohorts leaves a site out of many in a row: as many as happen to one with probability
    2^-40 are added. Without a bound the number of a round says nothing, and a wrong one would be believed.
    """
    size = plan.cohort.size
    rate = plan.cohort.sample_rate or (size / max(sites, 1) if isinstance(size, int) else 1.0)
    skipped = 0 if rate >= 1 else math.ceil(40 * math.log(2) / -math.log1p(-rate))
    return ROUNDS_AHEAD + skipped


def _consent(welcome: Welcome, run: bytes) -> tuple[bytes, ...]:
    return run, welcome.plan_digest.encode(), welcome.root, welcome.statement


def _parts(frame: Frame, plan: str, root: bytes, said: bytes | None) -> tuple[Octets, ...]:
    place = Writer().u32(frame.round).u32(frame.attempt).finish()
    return frame.run, place, plan.encode(), root, _said(frame) if said is None else said


def _said(frame: Frame) -> Octets:
    if frame.kind is not Kind.BROADCAST:
        return frame.body
    try:
        broadcast = Broadcast.from_bytes(Paired.from_bytes(frame.body).own)
    except MalformedMessage:
        return b"malformed" + bytes(
            frame.body
        )  # no statement of a BROADCAST begins so, but by a hash that nobody finds
    return broadcast.statement(params_digest(broadcast.params))


def _label(kind: Kind, suite: int = SUITE) -> str:
    return label(kind.name.lower(), suite)


def _span(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
