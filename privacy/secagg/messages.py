"""Every protocol message, with strict from_bytes and to_bytes.

Nine messages, each named by its second byte. Sites are written as slots, in ascending order without
repetition, so that one message has one encoding. `from_bytes` answers any bytes with a message or
`MalformedMessage`, and does work linear in their number. Byte layouts: docs/protocol.md, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

from privacy.errors import MalformedMessage
from privacy.secagg.keys import PUBLIC_BYTES, TAG_BYTES, is_public_key
from privacy.secagg.shamir import PRIME, SHARE_BYTES
from privacy.signing import SIGNATURE_BYTES
from privacy.suite import SUITE, require_suite
from privacy.wire import Reader, Writer

DIGEST_BYTES = 32
SEALED_BYTES = 2 * SHARE_BYTES + TAG_BYTES

_Entry = TypeVar("_Entry")


class Kind(IntEnum):
    """What a message is."""

    ADVERT = 1
    ADVERTS = 2
    SEALED_SHARES = 3
    DELIVERY = 4
    MASKED = 5
    SURVIVORS = 6
    VOTE = 7
    CERTIFICATE = 8
    REVEAL = 9


@dataclass(frozen=True)
class Advert:
    """Site to server: one-time public keys and a commitment to the self seed, signed by the site's identity."""

    mask_key: bytes
    channel_key: bytes
    commitment: bytes
    signature: bytes

    @property
    def statement(self) -> bytes:
        """What is signed of it."""
        return self.mask_key + self.channel_key + self.commitment

    def to_bytes(self) -> bytes:
        return self._write(_opening(Kind.ADVERT)).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Advert:
        reader = _opened(data, Kind.ADVERT)
        advert = cls._read(reader)
        reader.finish()
        return advert

    def _write(self, writer: Writer) -> Writer:
        return writer.fixed(self.statement).fixed(self.signature)

    @classmethod
    def _read(cls, reader: Reader) -> Advert:
        mask_key, channel_key = reader.fixed(PUBLIC_BYTES), reader.fixed(PUBLIC_BYTES)
        if not is_public_key(mask_key) or not is_public_key(channel_key):
            raise MalformedMessage("a public key is not canonical, or of small order")
        return cls(mask_key, channel_key, reader.fixed(DIGEST_BYTES), reader.fixed(SIGNATURE_BYTES))


@dataclass(frozen=True)
class Adverts:
    """Server to site: the adverts of all who sent one, by slot."""

    by_slot: Mapping[int, Advert]

    def to_bytes(self) -> bytes:
        writer = _opening(Kind.ADVERTS)
        return write_slots(writer, self.by_slot, lambda advert: advert._write(writer)).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Adverts:
        reader = _opened(data, Kind.ADVERTS)
        adverts = cls(read_slots(reader, lambda: Advert._read(reader)))
        reader.finish()
        return adverts


@dataclass(frozen=True)
class SealedShares:
    """Site to server: one sealed share for each peer, by recipient."""

    by_slot: Mapping[int, bytes]

    def to_bytes(self) -> bytes:
        writer = _opening(Kind.SEALED_SHARES)
        return write_slots(writer, self.by_slot, writer.fixed).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> SealedShares:
        reader = _opened(data, Kind.SEALED_SHARES)
        shares = cls(read_slots(reader, lambda: reader.fixed(SEALED_BYTES)))
        reader.finish()
        return shares


@dataclass(frozen=True)
class Delivery:
    """Server to site: who shared, and the sealed shares that are for this site, by sender."""

    sharers: frozenset[int]
    by_slot: Mapping[int, bytes]

    def to_bytes(self) -> bytes:
        writer = _opening(Kind.DELIVERY)
        write_slots(writer, dict.fromkeys(self.sharers), lambda _: writer)
        return write_slots(writer, self.by_slot, writer.fixed).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Delivery:
        reader = _opened(data, Kind.DELIVERY)
        sharers = frozenset(read_slots(reader, lambda: None))
        delivery = cls(sharers, read_slots(reader, lambda: reader.fixed(SEALED_BYTES)))
        reader.finish()
        return delivery


@dataclass(frozen=True)
class Masked:
    """Site to server: a masked vector in its packed form, whose length the round's parameters fix.

    The signature is a vote for the sum over all who shared.
    """

    signature: bytes
    packed: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        return _opening(Kind.MASKED).fixed(self.signature).fixed(self.packed).finish()

    @classmethod
    def from_bytes(cls, data: bytes, size: int) -> Masked:
        reader = _opened(data, Kind.MASKED)
        masked = cls(reader.fixed(SIGNATURE_BYTES), reader.fixed(size))
        reader.finish()
        return masked


@dataclass(frozen=True)
class Survivors:
    """Server to site: some who shared have vanished; vote for the sum over these."""

    slots: frozenset[int]

    def to_bytes(self) -> bytes:
        writer = _opening(Kind.SURVIVORS)
        return write_slots(writer, dict.fromkeys(self.slots), lambda _: writer).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Survivors:
        reader = _opened(data, Kind.SURVIVORS)
        survivors = cls(frozenset(read_slots(reader, lambda: None)))
        reader.finish()
        return survivors


@dataclass(frozen=True)
class Vote:
    """Site to server: a signature on a set of survivors and on the digest of the voter's own upload."""

    upload: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        return self._write(_opening(Kind.VOTE)).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Vote:
        reader = _opened(data, Kind.VOTE)
        vote = cls._read(reader)
        reader.finish()
        return vote

    def _write(self, writer: Writer) -> Writer:
        return writer.fixed(self.upload).fixed(self.signature)

    @classmethod
    def _read(cls, reader: Reader) -> Vote:
        return cls(reader.fixed(DIGEST_BYTES), reader.fixed(SIGNATURE_BYTES))


@dataclass(frozen=True)
class Certificate:
    """Server to site: whose vectors are in the sum, and the votes of a quorum of them for exactly that."""

    survivors: frozenset[int]
    votes: Mapping[int, Vote]

    def to_bytes(self) -> bytes:
        writer = _opening(Kind.CERTIFICATE)
        write_slots(writer, dict.fromkeys(self.survivors), lambda _: writer)
        return write_slots(writer, self.votes, lambda vote: vote._write(writer)).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Certificate:
        reader = _opened(data, Kind.CERTIFICATE)
        survivors = frozenset(read_slots(reader, lambda: None))
        certificate = cls(survivors, read_slots(reader, lambda: Vote._read(reader)))
        reader.finish()
        return certificate


@dataclass(frozen=True)
class Reveal:
    """Site to server: its shares of the survivors' self seeds and of the vanished sites' mask secrets."""

    seed_shares: Mapping[int, int] = field(repr=False)
    key_shares: Mapping[int, int] = field(repr=False)

    def to_bytes(self) -> bytes:
        writer = _opening(Kind.REVEAL)
        for shares in (self.seed_shares, self.key_shares):
            write_slots(writer, shares, lambda share: writer.fixed(share.to_bytes(SHARE_BYTES, "big")))
        return writer.finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Reveal:
        reader = _opened(data, Kind.REVEAL)
        seed_shares = read_slots(reader, lambda: _read_share(reader))
        key_shares = read_slots(reader, lambda: _read_share(reader))
        reader.finish()
        if seed_shares.keys() & key_shares.keys():
            raise MalformedMessage("a reveal holds both kinds of share of one site")
        return cls(seed_shares, key_shares)


@dataclass(frozen=True)
class SharePair:
    """What a sealed share holds: the recipient's shares of the sender's mask secret and self seed."""

    key_share: int = field(repr=False)
    seed_share: int = field(repr=False)

    def to_bytes(self) -> bytes:
        both = (self.key_share, self.seed_share)
        return b"".join(share.to_bytes(SHARE_BYTES, "big") for share in both)

    @classmethod
    def from_bytes(cls, data: bytes) -> SharePair:
        reader = Reader(data)
        pair = cls(_read_share(reader), _read_share(reader))
        reader.finish()
        return pair


def kind_of(data: bytes) -> Kind:
    """What a message says it is, before anything else of it is read."""
    reader = Reader(data)
    version, kind = reader.u8(), reader.u8()
    require_suite(version, "a message")
    if kind not in Kind.__members__.values():
        raise MalformedMessage("a message of an unknown kind")
    return Kind(kind)


def _opening(kind: Kind) -> Writer:
    return Writer().u8(SUITE).u8(kind)


def _opened(data: bytes, kind: Kind) -> Reader:
    if kind_of(data) is not kind:
        raise MalformedMessage(f"{kind.name} was expected")
    reader = Reader(data)
    reader.fixed(2)
    return reader


def write_slots(writer: Writer, entries: Mapping[int, _Entry], write: Callable[[_Entry], Writer]) -> Writer:
    """A map by slot: how many, then each slot and its entry, ascending."""
    writer.u16(len(entries))
    for slot in sorted(entries):
        writer.u16(slot)
        write(entries[slot])
    return writer


def read_slots(reader: Reader, read: Callable[[], _Entry]) -> dict[int, _Entry]:
    """The inverse of `write_slots`; MalformedMessage unless slots ascend strictly."""
    entries: dict[int, _Entry] = {}
    last = -1
    for _ in range(reader.u16()):
        slot = reader.u16()
        if slot <= last:
            raise MalformedMessage("slots are not in ascending order")
        entries[slot], last = read(), slot
    return entries


def _read_share(reader: Reader) -> int:
    share = int.from_bytes(reader.fixed(SHARE_BYTES), "big")
    if share >= PRIME:
        raise MalformedMessage("a share is not reduced modulo the prime")
    return share
