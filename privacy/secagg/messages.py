"""Every protocol message, with strict from_bytes and to_bytes.

Nine messages, each named by its second byte. A class lists its fields in the order of the wire and, in `layout`,
how each is written: the table of docs/protocol.md, section 5. Sites are written as slots, in ascending order
without repetition, so one message has one encoding. `from_bytes` answers any bytes with a message or
`MalformedMessage`, and does work linear in their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, ClassVar, Generic, Self, TypeVar

from privacy.errors import MalformedMessage
from privacy.secagg.keys import PUBLIC_BYTES, TAG_BYTES, is_public_key
from privacy.secagg.shamir import PRIME, SHARE_BYTES
from privacy.signing import SIGNATURE_BYTES
from privacy.suite import SUITE, require_suite
from privacy.wire import Reader, Writer

SEALED_BYTES = 2 * SHARE_BYTES + TAG_BYTES
_DIGEST_BYTES = 32

_Value = TypeVar("_Value")


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
class _Format(Generic[_Value]):
    """How one field is written and read."""

    write: Callable[[Writer, _Value], object]
    read: Callable[[Reader], _Value]


def _fixed(size: int) -> _Format[bytes]:
    return _Format(Writer.fixed, lambda reader: reader.fixed(size))


def _by_slot(entry: _Format[_Value]) -> _Format[Mapping[int, _Value]]:
    """A map by slot: how many, then each slot and its entry; MalformedMessage unless slots ascend strictly."""

    def write(writer: Writer, entries: Mapping[int, _Value]) -> None:
        writer.u16(len(entries))
        for slot in sorted(entries):
            entry.write(writer.u16(slot), entries[slot])

    def read(reader: Reader) -> dict[int, _Value]:
        entries: dict[int, _Value] = {}
        last = -1
        for _ in range(reader.u16()):
            slot = reader.u16()
            if slot <= last:
                raise MalformedMessage("slots are not in ascending order")
            entries[slot], last = entry.read(reader), slot
        return entries

    return _Format(write, read)


def _read_key(reader: Reader) -> bytes:
    key = reader.fixed(PUBLIC_BYTES)
    if not is_public_key(key):
        raise MalformedMessage("a public key is not canonical, or of small order")
    return key


def _read_share(reader: Reader) -> int:
    share = int.from_bytes(reader.fixed(SHARE_BYTES), "big")
    if share >= PRIME:
        raise MalformedMessage("a share is not reduced modulo the prime")
    return share


_KEY = _Format(Writer.fixed, _read_key)
_SHARE = _Format[int](lambda writer, share: writer.fixed(share.to_bytes(SHARE_BYTES, "big")), _read_share)
_DIGEST, _SIGNATURE, _SEALED = _fixed(_DIGEST_BYTES), _fixed(SIGNATURE_BYTES), _fixed(SEALED_BYTES)
_MARKS = _by_slot(_Format[None](lambda writer, _: writer, lambda _: None))
_SLOTS = _Format[frozenset[int]](
    lambda writer, slots: _MARKS.write(writer, dict.fromkeys(slots)),
    lambda reader: frozenset(_MARKS.read(reader)),
)


class _Body:
    """Fields in the order of the wire; `layout` says how each is written."""

    layout: ClassVar[tuple[_Format[Any], ...]]

    def to_bytes(self) -> bytes:
        return self._write(Writer()).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls._whole(Reader(data))

    @classmethod
    def entry(cls) -> _Format[Self]:
        """This body inside another message."""
        return _Format(lambda writer, body: body._write(writer), cls._read)

    @classmethod
    def _whole(cls, reader: Reader) -> Self:
        body = cls._read(reader)
        reader.finish()
        return body

    def _write(self, writer: Writer) -> Writer:
        for form, each in zip(self.layout, fields(self), strict=True):  # type: ignore[arg-type]  # all are dataclasses
            form.write(writer, getattr(self, each.name))
        return writer

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        return cls(*(form.read(reader) for form in cls.layout))


class _Message(_Body):
    """A body after the suite's number and the message's kind."""

    kind: ClassVar[Kind]

    def to_bytes(self) -> bytes:
        return self._write(_opening(self.kind)).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        return cls._whole(_opened(data, cls.kind))


@dataclass(frozen=True)
class Advert(_Message):
    """Site to server: one-time public keys and a commitment to the self seed, signed by the site's identity."""

    mask_key: bytes
    channel_key: bytes
    commitment: bytes
    signature: bytes

    kind, layout = Kind.ADVERT, (_KEY, _KEY, _DIGEST, _SIGNATURE)

    @property
    def statement(self) -> bytes:
        """What is signed of it."""
        return self.mask_key + self.channel_key + self.commitment


@dataclass(frozen=True)
class Adverts(_Message):
    """Server to site: the adverts of all who sent one, by slot."""

    by_slot: Mapping[int, Advert]

    kind, layout = Kind.ADVERTS, (_by_slot(Advert.entry()),)


@dataclass(frozen=True)
class SealedShares(_Message):
    """Site to server: one sealed share for each peer, by recipient."""

    by_slot: Mapping[int, bytes]

    kind, layout = Kind.SEALED_SHARES, (_by_slot(_SEALED),)


@dataclass(frozen=True)
class Delivery(_Message):
    """Server to site: who shared, and the sealed shares that are for this site, by sender."""

    sharers: frozenset[int]
    by_slot: Mapping[int, bytes]

    kind, layout = Kind.DELIVERY, (_SLOTS, _by_slot(_SEALED))


@dataclass(frozen=True)
class Masked:
    """Site to server: a masked vector in its packed form, of a length that follows from the round's parameters.

    The signature is a vote for the sum over all who shared.
    """

    signature: bytes
    packed: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        return _opening(Kind.MASKED).fixed(self.signature).fixed(self.packed).finish()

    @classmethod
    def from_bytes(cls, data: bytes, size: int) -> Masked:
        """The message, if its packed vector has `size` bytes."""
        reader = _opened(data, Kind.MASKED)
        masked = cls(reader.fixed(SIGNATURE_BYTES), reader.fixed(size))
        reader.finish()
        return masked


@dataclass(frozen=True)
class Survivors(_Message):
    """Server to site: some who shared have vanished; vote for the sum over these."""

    slots: frozenset[int]

    kind, layout = Kind.SURVIVORS, (_SLOTS,)


@dataclass(frozen=True)
class Vote(_Message):
    """Site to server: a signature on a set of survivors and on the digest of the voter's own upload."""

    upload: bytes
    signature: bytes

    kind, layout = Kind.VOTE, (_DIGEST, _SIGNATURE)


@dataclass(frozen=True)
class Certificate(_Message):
    """Server to site: whose vectors are in the sum, and the votes of a quorum of them for exactly that."""

    survivors: frozenset[int]
    votes: Mapping[int, Vote]

    kind, layout = Kind.CERTIFICATE, (_SLOTS, _by_slot(Vote.entry()))


@dataclass(frozen=True)
class Reveal(_Message):
    """Site to server: its shares of the survivors' self seeds and of the vanished sites' mask secrets."""

    seed_shares: Mapping[int, int] = field(repr=False)
    key_shares: Mapping[int, int] = field(repr=False)

    kind, layout = Kind.REVEAL, (_by_slot(_SHARE), _by_slot(_SHARE))

    @classmethod
    def _read(cls, reader: Reader) -> Self:
        reveal = super()._read(reader)
        if reveal.seed_shares.keys() & reveal.key_shares.keys():
            raise MalformedMessage("a reveal holds both kinds of share of one site")
        return reveal


@dataclass(frozen=True)
class SharePair(_Body):
    """What a sealed share holds: the recipient's shares of the sender's mask secret and self seed."""

    key_share: int = field(repr=False)
    seed_share: int = field(repr=False)

    layout = (_SHARE, _SHARE)


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
