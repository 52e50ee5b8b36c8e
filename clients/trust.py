"""Trust: the consortium keys that a site has pinned, and the key that it signs with itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.round.messages import Member
from privacy.errors import FaultyServer
from privacy.ledger.heads import Head
from privacy.roster import Roster, SignedRoster
from privacy.signing import public_identity


@dataclass(frozen=True)
class Trust:
    """`quorum` of the `pinned` consortium keys must have signed a roster; it must be of `serial` or later."""

    pinned: frozenset[bytes]
    quorum: int
    serial: int
    identity: Ed25519PrivateKey = field(repr=False)

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
        return genuine


def genuine_heads(heads: Iterable[Head], roster: Roster, own: str) -> tuple[Head, ...]:
    """The heads of ledgers that a server shows, each signed by the site it belongs to. FaultyServer otherwise.

    Those of `own` are passed on as they are: this site's journal knows all the keys that ever signed it.
    """
    shown = tuple(heads)
    for head in shown:
        entry = roster.by_site.get(head.site)
        if head.site != own and (entry is None or not head.is_signed_by(entry.key)):
            raise FaultyServer("the server shows a head of a ledger that its site did not sign")
    return shown
