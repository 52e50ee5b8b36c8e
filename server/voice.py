"""The coordinator's voice in a run: what it says to the sites under its own name, signed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.errors import InputError, RosterError
from federation.identity.roles import load_coordinator
from federation.identity.roster_file import require_coordinator
from federation.plan.plan import Plan
from federation.round.messages import MAX_HELLO, MAX_SITES, Frame, Hello, Kind, few
from federation.round.signed import CLOCK_SKEW, LONGEST, ordered
from privacy.ledger.heads import Head
from privacy.roster import Roster, SignedRoster
from privacy.signing import public_identity

Place: TypeAlias = tuple[int, int]  # rounds that are done, and the number from which attempts are counted
_HEAD_ROOM = 1 << 10  # bytes of a HELLO for each head


@dataclass(frozen=True)
class Voice:
    """Whoever holds `key` speaks in `run`. RosterError if the roster does not name just that key."""

    plan: Plan
    run: bytes
    roster: SignedRoster
    key: Ed25519PrivateKey = field(repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)

    def __post_init__(self) -> None:
        if self.sites.coordinator != public_identity(self.key):
            raise RosterError(
                "the roster names another coordinator than the key that would sign for it",
                hint="use the key that the roster names, or: federation roster add ROSTER ID.pub; then sign it",
            )
        if len(self.sites.entries) > MAX_SITES:
            raise RosterError(f"a roster of more than {MAX_SITES} sites", hint="make it smaller")

    @cached_property
    def sites(self) -> Roster:
        """The roster as it reads."""
        return self.roster.read()

    def hello(self, at: Place, heads: Iterable[Head] = ()) -> Frame:
        """What the coordinator says first, and again to a site that restarted: it counts for a while from now."""
        now = math.floor(self.clock())
        lifetime = min(LONGEST, math.ceil(self.plan.cohort.deadline_seconds) + CLOCK_SKEW)
        content, roster = self.plan.canonical(), self.roster.to_bytes()
        room = MAX_HELLO - len(content) - len(roster) - _HEAD_ROOM
        if room < 0:
            raise InputError(
                "the plan and its roster are too long to be sent", hint="make one of them smaller"
            )
        known = few(heads, room // _HEAD_ROOM)
        body = Hello(content, roster, now, now + lifetime, known).to_bytes()
        return self._ordered(Frame(Kind.HELLO, self.run, *at, body))

    def closing(self, params: bytes) -> Frame:
        """That the run is over, with this model (the digest of its params)."""
        return self._ordered(Frame(Kind.CLOSE, self.run, 0, 0, params))

    def _ordered(self, frame: Frame) -> Frame:
        return ordered(frame, self.key, self.plan.digest, self.sites.root)


def coordinator_key(roster: SignedRoster, path: Path, identity: Path) -> tuple[Path, Ed25519PrivateKey]:
    """File and key of the coordinator that the roster at `path` names; it is `identity`, or beside the roster."""
    require_coordinator(roster.read(), path)
    return load_coordinator(identity, path)
