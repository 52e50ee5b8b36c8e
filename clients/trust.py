"""Trust: the consortium keys that a site has pinned, and the key that it signs with itself.

Rosters are remembered beside the keys, for each consortium key that a site has pinned: a journal remembers them
too, but another pool has another journal, and a new one remembers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clients.journal.remembered import Memory
from federation.identity.roster_file import NAME_IT
from federation.plan.plan import Plan
from federation.round.messages import Member
from privacy.errors import FaultyServer, LedgerRefusal
from privacy.ledger.heads import Head
from privacy.roster import Roster, SignedRoster
from privacy.signing import public_identity

_Newest: TypeAlias = tuple[int, str]  # serial and root of the newest roster
_Known: TypeAlias = dict[str, _Newest]  # by consortium key


@dataclass(frozen=True)
class RosterMemory:
    """The newest roster that was accepted under each consortium key, in a file beside the keys of the site."""

    path: Path

    @property
    def _memory(self) -> Memory[_Newest]:
        return Memory(self.path, "rosters that were accepted", _newest)

    def check(self, roster: Roster, pinned: Iterable[bytes]) -> None:
        """LedgerRefusal for a roster older than the newest under any of these keys, or another of its serial.

        Any of them: a consortium that replaces one of its keys is known by the others.
        """
        _require_newest(self._memory.read(), roster, pinned)

    def remember(self, roster: Roster, pinned: frozenset[bytes]) -> None:
        """`check`, and from here on this roster is the newest under all these keys. Durable when it returns."""

        def change(known: _Known) -> _Known:
            _require_newest(known, roster, pinned)
            return known | {key.hex(): (roster.serial, roster.root.hex()) for key in pinned}

        self._memory.update(change)


def _newest(content: tuple[int, str]) -> _Newest:
    serial, root = content
    return int(serial), str(root)


def _require_newest(known: _Known, roster: Roster, pinned: Iterable[bytes]) -> None:
    for key in pinned:
        serial, root = known.get(key.hex(), (-1, ""))
        if roster.serial < serial or (roster.serial == serial and roster.root.hex() != root):
            raise LedgerRefusal(
                f"a roster of serial {roster.serial}, after another of serial {serial}",
                hint="ask the consortium for the newest roster",
            )


@dataclass(frozen=True)
class Trust:
    """`quorum` of the `pinned` consortium keys must have signed a roster; it must be of `serial` or later.

    `memory`: of the rosters accepted before. A simulated site has none, whose consortium is made for the occasion.
    `coordinator`: the only key that a roster may name as the coordinator's, if the site has pinned one.
    `rehearses`: what is trusted here takes part in rehearsals, and in nothing else.
    """

    pinned: frozenset[bytes]
    quorum: int
    serial: int
    identity: Ed25519PrivateKey = field(repr=False)
    memory: RosterMemory | None = None
    coordinator: bytes = b""
    rehearses: bool = False

    def require_of_its_kind(self, plan: Plan) -> None:
        """FaultyServer for a rehearsal where a run is meant, or a run where a rehearsal is."""
        if plan.is_rehearsal is not self.rehearses:
            kind = "a rehearsal" if plan.is_rehearsal else "a run"
            raise FaultyServer(f"{kind} cannot be played here", hint="it is for the coordinator to correct")

    def remember(self, roster: Roster) -> None:
        """Accept no older roster from here on, whatever pool and journal a run is for."""
        if self.memory is not None:
            self.memory.remember(roster, self.pinned)

    def accept(self, roster: SignedRoster, member: Member) -> Roster:
        """The roster, if it is genuine and knows this site by its key and declared size. FaultyServer if not."""
        genuine = roster.verified(self.pinned, self.quorum, serial=self.serial)
        entry = genuine.by_site.get(member.site)
        if entry is None:
            raise FaultyServer(f"the roster does not hold {member.site}", hint="ask the consortium to add it")
        if entry.key != public_identity(self.identity) or entry.size != member.size:
            raise FaultyServer(
                f"the roster knows {member.site} by another key or size",
                hint="compare it with this site's keys and data.size",
            )
        if not genuine.coordinator:
            raise FaultyServer(
                "the roster names no coordinator's key, so nobody can begin a run", hint=NAME_IT
            )
        if self.coordinator not in (b"", genuine.coordinator):
            raise FaultyServer(
                "the roster names another coordinator's key than this site has pinned",
                hint="if the coordinator has a new one, put it into site.toml: server.coordinator_key",
            )
        if self.memory is not None:
            self.memory.check(genuine, self.pinned)
        return genuine


def require_own_ledgers(
    heads: Iterable[Head], site: str, key: bytes, own: bytes, known: Callable[[], frozenset[bytes]]
) -> None:
    """LedgerRefusal if anybody has seen a ledger of this site, under its key, that is not on this machine.

    Then the registry of pools was lost or removed, and nobody can tell here what the records have spent. `own` is
    the tag of the ledger at hand; `known` is asked for the others, which takes a moment, only where there is
    another.
    """
    others = [head for head in heads if head.site == site and head.ledger != own and head.is_signed_by(key)]
    if others and not {head.ledger for head in others} <= known():
        raise LedgerRefusal(
            f"others have seen {len(others)} more of this site's ledgers, and not all of them are known here",
            hint="name pool and journal as they were before, and give: federation ledger reclaim SITE",
        )


def genuine_heads(
    heads: Iterable[Head], roster: Roster, own: str, *, rehearsed: bool = False
) -> tuple[Head, ...]:
    """The heads of ledgers that a server shows, each signed by the site it belongs to. FaultyServer otherwise.

    Those of `own` are passed on as they are: this site's journal knows all the keys that ever signed it.
    """
    shown = tuple(heads)
    for head in shown:
        entry = roster.by_site.get(head.site)
        if head.site != own and (entry is None or not head.is_signed_by(entry.key, rehearsed=rehearsed)):
            raise FaultyServer("the server shows a head of a ledger that its site did not sign")
    return shown
