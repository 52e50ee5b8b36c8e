"""The signed roster: which sites exist, which organization each belongs to, its public key, and the coordinator's.

A consortium's keys sign it, a site pins those keys, and a quorum of them must have signed: no server can invent a
site, and none but the coordinator that is named can speak in a run. A roster's serial only grows, so a site that
has seen a revocation accepts no older roster. See docs/protocol.md, section 4.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import FaultyServer, MalformedMessage
from privacy.signing import IDENTITY_BYTES, SIGNATURE_BYTES, is_identity, is_signed, public_identity, sign
from privacy.suite import SUITE, label, require_suite
from privacy.wire import Reader, Writer, digest

NAME_BYTES = 256
MAX_SITES = (1 << 16) - 1

NODE_BYTES = 49  # a point of P-384, compressed (SEC 1): the kind of key that Flower tells its nodes apart by
_NAMED_SINCE = 4  # older rosters name sites only

_ENTRY_BYTES = 2 * (4 + NAME_BYTES) + IDENTITY_BYTES + 8 + 4 + NODE_BYTES
_MAX_BYTES = 1 + 8 + 4 + IDENTITY_BYTES + 4 + MAX_SITES * _ENTRY_BYTES


@dataclass(frozen=True)
class Entry:
    """One site: its id, the organization it belongs to, its Ed25519 key of 32 bytes, its declared size.

    `node`: the key by which Flower knows the site's node, or none.
    """

    site: str
    organization: str
    key: bytes
    size: int
    node: bytes = b""


@dataclass(frozen=True)
class Roster:
    """Sites in ascending order of id, and the coordinator's key; none while nobody has named one.

    Cannot exist with two entries of one site, or with one key twice.
    """

    serial: int
    entries: tuple[Entry, ...]
    suite: int = SUITE  # another one only where an audit looks at old files
    coordinator: bytes = b""

    def __post_init__(self) -> None:
        sites = [entry.site for entry in self.entries]
        if sites != sorted(set(sites)):
            raise MalformedMessage("the sites of a roster are not distinct or not sorted")
        keys = [entry.key for entry in self.entries] + [self.coordinator] * bool(self.coordinator)
        nodes = [entry.node for entry in self.entries if entry.node]
        if len(set(keys)) < len(keys) or len(set(nodes)) < len(nodes):
            raise MalformedMessage("a roster holds the same key twice")
        if not all(map(is_identity, keys)):
            raise MalformedMessage("a key of a roster is not canonical, or of small order")
        if not all(len(node) == NODE_BYTES and node[0] in (2, 3) for node in nodes):
            raise MalformedMessage("the node key of a site is no compressed point of P-384")

    @property
    def is_named(self) -> bool:
        """Whether this form of a roster has a place for the coordinator's key and the nodes'."""
        return self.suite >= _NAMED_SINCE

    @cached_property
    def by_site(self) -> Mapping[str, Entry]:
        """From site id to entry."""
        return {entry.site: entry for entry in self.entries}

    @cached_property
    def root(self) -> bytes:
        """32 bytes that stand for the whole roster."""
        return digest(label("roster", self.suite), self.to_bytes())

    def to_bytes(self) -> bytes:
        """Canonical bytes: what is signed."""
        writer = Writer().u8(self.suite).u64(self.serial)
        if self.is_named:
            writer.blob(self.coordinator)
        writer.u32(len(self.entries))
        for entry in self.entries:
            writer.text(entry.site).text(entry.organization).fixed(entry.key).u64(entry.size)
            if self.is_named:
                writer.blob(entry.node)
        return writer.finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Roster:
        """The roster of canonical bytes, or MalformedMessage."""
        reader = Reader(data)
        require_suite(reader.u8(), "a roster")
        serial, coordinator, count = reader.u64(), reader.blob(IDENTITY_BYTES), reader.u32()
        entries = []
        for _ in range(count):
            site, organization = reader.text(NAME_BYTES), reader.text(NAME_BYTES)
            key, size = reader.fixed(IDENTITY_BYTES), reader.u64()
            entries.append(Entry(site, organization, key, size, reader.blob(NODE_BYTES)))
        reader.finish()
        return cls(serial, tuple(entries), coordinator=coordinator)

    def sign(self, key: Ed25519PrivateKey) -> bytes:
        """A consortium key's signature on this roster."""
        return sign(key, label("roster", self.suite), self.to_bytes())


@dataclass(frozen=True)
class SignedRoster:
    """A roster as it travels: its bytes, and signatures by consortium key. Trust it only once `verified`."""

    roster: bytes
    signatures: Mapping[bytes, bytes]

    @classmethod
    def by(cls, roster: Roster, keys: Collection[Ed25519PrivateKey]) -> SignedRoster:
        """A roster under the signatures of these consortium keys."""
        return cls(roster.to_bytes(), {public_identity(key): roster.sign(key) for key in keys})

    def to_bytes(self) -> bytes:
        """Canonical bytes: signatures in ascending order of their keys."""
        writer = Writer().blob(self.roster).u16(len(self.signatures))
        for key in sorted(self.signatures):
            writer.fixed(key).fixed(self.signatures[key])
        return writer.finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedRoster:
        """The signed roster of canonical bytes, or MalformedMessage. Checks no signature."""
        reader = Reader(data)
        roster, signatures = reader.blob(_MAX_BYTES), {}
        last = b""
        for _ in range(reader.u16()):
            key = reader.fixed(IDENTITY_BYTES)
            if key <= last:
                raise MalformedMessage("the signatures of a roster are not in ascending order of their keys")
            signatures[key], last = reader.fixed(SIGNATURE_BYTES), key
        reader.finish()
        return cls(roster, signatures)

    def verified(self, pinned: Collection[bytes], quorum: int, *, serial: int) -> Roster:
        """The roster, if at least `quorum` distinct pinned keys signed it and it is no older than `serial`.

        `serial` is the highest this site has accepted before, 0 at first. FaultyServer if anything is amiss.
        """
        if quorum < 1:
            raise ValueError("a quorum of consortium keys is at least one")
        roster = Roster.from_bytes(self.roster)  # an older suite is told apart from a missing signature
        signers = [key for key in set(pinned) & self.signatures.keys() if self.is_signed_by(key)]
        if len(signers) < quorum:
            raise FaultyServer(
                f"a roster signed by {len(signers)} of the pinned consortium keys, {quorum} must have signed",
                hint="a signature made for an older suite does not count: federation roster sign",
            )
        if roster.serial < serial:
            raise FaultyServer(f"a roster of serial {roster.serial}, after one of serial {serial}")
        return roster

    def read(self) -> Roster:
        """The roster, on nobody's word. MalformedMessage if it is none."""
        return Roster.from_bytes(self.roster)

    @property
    def _label(self) -> str:
        return label("roster", Reader(self.roster).u8())

    def is_signed_by(self, key: bytes) -> bool:
        """Whether this key, one of `signatures`, is sound and its signature verifies."""
        return is_identity(key) and is_signed(key, self.signatures[key], self._label, self.roster)
