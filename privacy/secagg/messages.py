"""Every protocol message, with strict from_bytes and to_bytes.

Nine messages, each named by its second byte. A class lists its fields in the order of the wire and, in `layout`,
how each is written: the table of docs/protocol.md, section 5. Sites are written as slots, in ascending order
without repetition, so one message has one encoding. `from_bytes` answers any bytes with a message or
`MalformedMessage`, and does work linear in their number. Some messages grow with the levels of excess noise that a
round's parameters have; they are told when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Generic, Self, TypeVar

from privacy.errors import MalformedMessage
from privacy.secagg.kem import CIPHERTEXT_BYTES, KEM_KEY_BYTES, is_kem_key
from privacy.secagg.keys import PUBLIC_BYTES, SECRET_BYTES, TAG_BYTES, is_public_key, secret_names
from privacy.secagg.shamir import PRIME, SHARE_BYTES
from privacy.signing import SIGNATURE_BYTES
from privacy.suite import SUITE, require_suite
from privacy.wire import Content, Reader, Writer

WRAP_BYTES = SECRET_BYTES + TAG_BYTES
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
    """How one field is written, and read in a round of so many levels."""

    write: Callable[[Writer, _Value], object]
    read: Callable[[Reader, int], _Value]


def _fixed(size: int) -> _Format[bytes]:
    return _Format(Writer.fixed, lambda reader, _: reader.fixed(size))


def _grown(size: int, by: int) -> _Format[bytes]:
    """Bytes of a length that grows with the levels."""
    return _Format(Writer.fixed, lambda reader, levels: reader.fixed(size + by * levels))


def _each(form: _Format[_Value], count: int) -> _Format[tuple[_Value, ...]]:
    """So many values in a row, and one more for each level."""

    def write(writer: Writer, values: tuple[_Value, ...]) -> None:
        for value in values:
            form.write(writer, value)

    def read(reader: Reader, levels: int) -> tuple[_Value, ...]:
        return tuple(form.read(reader, levels) for _ in range(count + levels))

    return _Format(write, read)


def _by_slot(entry: _Format[_Value]) -> _Format[Mapping[int, _Value]]:
    """A map by slot: how many, then each slot and its entry; MalformedMessage unless slots ascend strictly."""
    return _Format(
        lambda writer, entries: writer.by_slot(entries, entry.write),
        lambda reader, levels: reader.by_slot(lambda each: entry.read(each, levels)),
    )


def _read_key(reader: Reader, _: int) -> bytes:
    key = reader.fixed(PUBLIC_BYTES)
    if not is_public_key(key):
        raise MalformedMessage("a public key is not canonical, or of small order")
    return key


def _read_kem_key(reader: Reader, _: int) -> bytes:
    key = reader.fixed(KEM_KEY_BYTES)
    if not is_kem_key(key):
        raise MalformedMessage("a KEM key is not reduced modulo its prime")
    return key


def _read_share(reader: Reader, _: int) -> int:
    share = int.from_bytes(reader.fixed(SHARE_BYTES), "big")
    if share >= PRIME:
        raise MalformedMessage("a share is not reduced modulo the prime")
    return share


_SECRETS = len(secret_names(0))
_PARTS = 2 + _SECRETS
_KEY, _KEM_KEY = _Format(Writer.fixed, _read_key), _Format(Writer.fixed, _read_kem_key)
_SHARE = _Format[int](lambda writer, share: writer.fixed(share_bytes(share)), _read_share)
_SHARES = _by_slot(_SHARE)
_DIGEST, _SIGNATURE, _HALF = _fixed(_DIGEST_BYTES), _fixed(SIGNATURE_BYTES), _fixed(SECRET_BYTES)
_SEALED = _grown(2 * SECRET_BYTES + _SECRETS * SHARE_BYTES + TAG_BYTES, SHARE_BYTES)
_WRAPS = _by_slot(_fixed(WRAP_BYTES))
_MARKS = _by_slot(_Format[None](lambda writer, _: writer, lambda *_: None))
_SLOTS = _Format[frozenset[int]](
    lambda writer, slots: _MARKS.write(writer, dict.fromkeys(slots)),
    lambda reader, levels: frozenset(_MARKS.read(reader, levels)),
)


def share_bytes(share: int) -> bytes:
    """A share as it is written, 33 bytes."""
    return share.to_bytes(SHARE_BYTES, "big")


def part_names(levels: int) -> tuple[str, ...]:
    """The parts of a Portion, in the order of the wire."""
    return ("x", "y", *secret_names(levels))


class _Body:
    """Fields in the order of the wire; `layout` says how each is written."""

    layout: ClassVar[tuple[_Format[Any], ...]]

    def to_bytes(self) -> bytes:
        return self._write(Writer()).finish()

    @classmethod
    def from_bytes(cls, data: bytes, levels: int = 0) -> Self:
        return cls._whole(Reader(data), levels)

    @classmethod
    def entry(cls) -> _Format[Self]:
        """This body inside another message."""
        return _Format(lambda writer, body: body._write(writer), cls._read)

    @classmethod
    def _whole(cls, reader: Reader, levels: int) -> Self:
        body = cls._read(reader, levels)
        reader.finish()
        return body

    def _write(self, writer: Writer) -> Writer:
        for form, name in zip(self.layout, self.__match_args__, strict=True):  # type: ignore[attr-defined]  # dataclasses
            form.write(writer, getattr(self, name))
        return writer

    @classmethod
    def _read(cls, reader: Reader, levels: int) -> Self:
        return cls(*(form.read(reader, levels) for form in cls.layout))


class _Message(_Body):
    """A body after the suite's number and the message's kind."""

    kind: ClassVar[Kind]

    def to_bytes(self) -> bytes:
        return self._write(_opening(self.kind)).finish()

    @classmethod
    def from_bytes(cls, data: bytes, levels: int = 0) -> Self:
        return cls._whole(_opened(data, cls.kind), levels)


@dataclass(frozen=True)
class Advert(_Message):
    """Site to server: one-time public keys and commitments to its shared secrets, signed by the site's identity.

    `commitments` are in the order of `secret_names`.
    """

    channel_key: bytes
    kem_key: bytes
    commitments: tuple[bytes, ...]
    signature: bytes

    kind, layout = Kind.ADVERT, (_KEY, _KEM_KEY, _each(_DIGEST, _SECRETS), _SIGNATURE)

    @property
    def statement(self) -> bytes:
        """What is signed of it."""
        return self.channel_key + self.kem_key + b"".join(self.commitments)


@dataclass(frozen=True)
class Adverts(_Message):
    """Server to site: the adverts of all who sent one, by slot."""

    by_slot: Mapping[int, Advert]

    kind, layout = Kind.ADVERTS, (_by_slot(Advert.entry()),)


@dataclass(frozen=True)
class Portion(_Body):
    """What a seal holds: two halves for the pair, and the recipient's shares, in the order of `secret_names`."""

    mask_half: bytes = field(repr=False)
    wrap_half: bytes = field(repr=False)
    shares: tuple[int, ...] = field(repr=False)

    layout = (_HALF, _HALF, _each(_SHARE, _SECRETS))

    @property
    def parts(self) -> dict[str, bytes]:
        """Its parts by name, each of which has a digest of its own."""
        shares = zip(secret_names(len(self.shares) - _SECRETS), self.shares, strict=True)
        halves = {"x": self.mask_half, "y": self.wrap_half}
        return halves | {name: share_bytes(share) for name, share in shares}


@dataclass(frozen=True)
class Dealt(_Body):
    """A dealer's signature on the digests of all parts of one Portion, one after another as in `part_names`."""

    digests: bytes
    signature: bytes

    layout = (_grown(_PARTS * _DIGEST_BYTES, _DIGEST_BYTES), _SIGNATURE)

    @property
    def levels(self) -> int:
        """Of how many seeds of excess noise it holds shares."""
        return len(self.digests) // _DIGEST_BYTES - _PARTS

    def of(self, part: str) -> bytes:
        """The digest of this part."""
        at = part_names(self.levels).index(part) * _DIGEST_BYTES
        return self.digests[at : at + _DIGEST_BYTES]


@dataclass(frozen=True)
class Sealed(_Body):
    """From one site to another: a KEM ciphertext, a Portion sealed with it, and the dealer's word for that."""

    ciphertext: bytes
    sealed: bytes
    dealt: Dealt

    layout = (_fixed(CIPHERTEXT_BYTES), _SEALED, Dealt.entry())


@dataclass(frozen=True)
class SealedShares(_Message):
    """Site to server: what is sealed for each peer, by recipient."""

    by_slot: Mapping[int, Sealed]

    kind, layout = Kind.SEALED_SHARES, (_by_slot(Sealed.entry()),)


@dataclass(frozen=True)
class Delivery(_Message):
    """Server to site: who shared, and what is sealed for this site, by sender."""

    sharers: frozenset[int]
    by_slot: Mapping[int, Sealed]

    kind, layout = Kind.DELIVERY, (_SLOTS, _by_slot(Sealed.entry()))


@dataclass(frozen=True)
class Masked:
    """Site to server: a masked vector, packed; its length follows from the round's parameters.

    The signature is a vote for the sum over all who shared. `wraps` hold this site's mask half for each peer that
    shared, should the peer be lost.
    """

    signature: bytes
    wraps: Mapping[int, bytes]
    packed: Content = field(repr=False)

    def to_bytes(self) -> bytes:
        return self.head() + bytes(self.packed[:])

    def head(self) -> bytes:
        """All before the vector."""
        return _opening(Kind.MASKED).fixed(self.signature).finish() + wraps_bytes(self.wraps)

    @classmethod
    def from_bytes(cls, data: Content, size: int) -> Masked:
        """The message, if its packed vector has `size` bytes: not copied, nor read if it is stored."""
        reader = _opened(data, Kind.MASKED)
        signature, wraps = reader.fixed(SIGNATURE_BYTES), _WRAPS.read(reader, 0)
        masked = cls(signature, wraps, reader.content(size))
        reader.finish()
        return masked


def wraps_bytes(wraps: Mapping[int, bytes]) -> bytes:
    """Wraps as they enter the digest of an upload, and stand before its vector where that is kept."""
    writer = Writer()
    _WRAPS.write(writer, wraps)
    return writer.finish()


def wraps_from(data: bytes) -> Mapping[int, bytes]:
    """The inverse of `wraps_bytes`; MalformedMessage for anything else."""
    reader = Reader(data)
    wraps = _WRAPS.read(reader, 0)
    reader.finish()
    return wraps


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
    """Server to site: whose vectors are in the sum, and the votes of a quorum of them for exactly that.

    On a ring `firsts` hold the vote that came with each vector in the sum; in the complete graph, none.
    """

    survivors: frozenset[int]
    votes: Mapping[int, Vote]
    firsts: Mapping[int, Vote] = field(default_factory=dict)

    kind, layout = Kind.CERTIFICATE, (_SLOTS, _by_slot(Vote.entry()), _by_slot(Vote.entry()))


@dataclass(frozen=True)
class Reveal(_Message):
    """Site to server: its shares of the survivors' self seeds, of the vanished sites' mask secrets, and of those
    seeds of the survivors' excess noise that the sum does not need; signed.
    """

    seed_shares: Mapping[int, int] = field(repr=False)
    key_shares: Mapping[int, int] = field(repr=False)
    excess_shares: Mapping[int, int] = field(repr=False)
    signature: bytes

    kind, layout = Kind.REVEAL, (_SHARES, _SHARES, _SHARES, _SIGNATURE)

    @property
    def body(self) -> bytes:
        """What is signed of it."""
        writer = Writer()
        for shares in (self.seed_shares, self.key_shares, self.excess_shares):
            _SHARES.write(writer, shares)
        return writer.finish()

    @classmethod
    def _read(cls, reader: Reader, levels: int) -> Self:
        reveal = super()._read(reader, levels)
        if reveal.seed_shares.keys() & reveal.key_shares.keys():
            raise MalformedMessage("a reveal holds both kinds of share of one site")
        return reveal


def kind_of(data: Content) -> Kind:
    """What a message says it is, before anything else of it is read."""
    reader = Reader(data)
    version, kind = reader.u8(), reader.u8()
    require_suite(version, "a message")
    if kind not in Kind.__members__.values():
        raise MalformedMessage("a message of an unknown kind")
    return Kind(kind)


def _opening(kind: Kind) -> Writer:
    return Writer().u8(SUITE).u8(kind)


def _opened(data: Content, kind: Kind) -> Reader:
    if kind_of(data) is not kind:
        raise MalformedMessage(f"{kind.name} was expected")
    reader = Reader(data)
    reader.fixed(2)
    return reader
