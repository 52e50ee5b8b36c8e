"""The messages of a run, and their bytes: one frame, few kinds, every field length-limited.

A frame is `kind, run, round, attempt, body`; the body of a secure-aggregation step is that machine's own
message (docs/protocol.md). Requests flow from server to site, each gets exactly one reply:

    HELLO -> WELCOME         the plan and the signed roster, and the site's consent
    INVITE -> ADVERT         who is in a round; one-time public keys
    ADVERTS -> SHARES        everyone's keys; sealed shares
    BROADCAST -> MASKED      params and forwarded shares; the masked update, signed, with a vote
    SURVIVORS -> VOTE        only if a site was lost: the sites in the sum; a vote for them
    CERTIFICATE -> REVEAL    a quorum's votes; the shares that unmask this sum and nothing else
    CLOSE -> CLOSED          the run is over, and what its last params are
    anything -> ABORT        a reason from a fixed list, never a text: an exception could carry data. Where a share
                             does not open, also the slot of its dealer, which is public

BROADCAST and CERTIFICATE, and their replies, can carry a whole frame of the next round beside their own content:
its INVITE or ADVERTS, and the answers. So the keys of a round travel with the round before it, and a round that
loses no site takes two exchanges.

Signed heads of ledgers travel along (`privacy.ledger.heads`): a site shows its own with WELCOME, MASKED, REVEAL and
CLOSED, and is shown its own and some peers' with HELLO and BROADCAST. So others can tell when a ledger was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from privacy.errors import MalformedMessage
from privacy.ledger.heads import Head
from privacy.wire import Reader, Writer

MAX_SITES = 10_000
MAX_PLAN = 1 << 20
MAX_ROSTER = 1 << 26
MAX_HELLO = 1 << 24  # a plan, a roster of MAX_SITES and a head of each
FRAME_ROOM, PEER_ROOM = (
    1 << 16,
    1 << 12,
)  # beside the params: bytes of a request that are always there, and per site: a sealed share and an advert
_MAX_BODY = 1 << 31
_HEADER = 1 + 16 + 4 + 4
_MAX_HEAD = 1 << 10
RUN_ID_BYTES = 16


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    INVITE = 3
    ADVERT = 4
    ADVERTS = 5
    SHARES = 6
    BROADCAST = 7
    MASKED = 8
    SURVIVORS = 9
    VOTE = 10
    CERTIFICATE = 11
    REVEAL = 12
    ABORT = 13
    CLOSE = 14
    CLOSED = 15


class Reason(IntEnum):
    """Why a site left a round: a number, so that nothing about the data can ride along."""

    POLICY = 1  # the site's policy does not allow it
    BUDGET = 2  # the site's budget is spent
    PROTOCOL = 3  # someone left the protocol
    DIVERGED = 4  # the noised, or never private, update left the ring's range
    FAILED = 5  # anything else
    UNKNOWN_RUN = 6  # the site was started anew and has not been greeted since
    SHARE = 7  # a share that was dealt to the site does not open; nothing of the round is charged


@dataclass(frozen=True)
class Frame:
    """One message of one run."""

    kind: Kind
    run: bytes
    round: int
    attempt: int
    body: bytes = b""

    def to_bytes(self) -> bytes:
        writer = Writer().u8(self.kind).fixed(self.run).u32(self.round).u32(self.attempt)
        return writer.blob(self.body).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Frame:
        reader = Reader(data)
        kind = _member(Kind, reader.u8())
        run, number, attempt = reader.fixed(RUN_ID_BYTES), reader.u32(), reader.u32()
        body = reader.blob(_MAX_BODY)
        reader.finish()
        return cls(kind, run, number, attempt, body)

    @classmethod
    def header(cls, data: bytes) -> Frame:
        """The frame without its body, of which nothing is looked at. MalformedMessage if there is none."""
        return cls.from_bytes(data[:_HEADER] + bytes(4))

    def reply(self, kind: Kind, body: bytes = b"") -> Frame:
        """A frame of the same run, round and attempt."""
        return Frame(kind, self.run, self.round, self.attempt, body)


@dataclass(frozen=True)
class Member:
    """A site of a cohort: its id, and the number of records it declared in public (never a count of its data)."""

    site: str
    size: int


@dataclass(frozen=True)
class Welcome:
    """A site's consent: its id and size, the digest of the plan it read, the noise it derived ("" for none).

    `heads`: of its own ledger, and of the peers' ledgers that it has witnessed.
    """

    member: Member
    plan_digest: str
    noise_multiplier: str
    heads: tuple[Head, ...] = ()

    def to_bytes(self) -> bytes:
        writer = Writer().text(self.member.site).u64(self.member.size)
        return _write(writer.text(self.plan_digest).text(self.noise_multiplier), self.heads).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Welcome:
        reader = Reader(data)
        welcome = cls(Member(reader.text(), reader.u64()), reader.text(), reader.text(), _read(reader))
        reader.finish()
        return welcome


@dataclass(frozen=True)
class Hello:
    """The start of a run: the plan's canonical bytes, and the roster under the consortium's signatures."""

    plan: bytes
    roster: bytes
    heads: tuple[Head, ...] = ()

    def to_bytes(self) -> bytes:
        return _write(Writer().blob(self.plan).blob(self.roster), self.heads).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Hello:
        return cls(*_two_and_heads(data, MAX_PLAN, MAX_ROSTER))


@dataclass(frozen=True)
class Invitation:
    """The cohort of a round, in the order of its ids."""

    members: tuple[Member, ...]

    def to_bytes(self) -> bytes:
        writer = Writer().u32(len(self.members))
        for member in self.members:
            writer.text(member.site).u64(member.size)
        return writer.finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Invitation:
        reader = Reader(data)
        count = reader.u32()
        if count > MAX_SITES:
            raise MalformedMessage(f"an invitation names more than {MAX_SITES} sites")
        members = tuple(Member(reader.text(), reader.u64()) for _ in range(count))
        reader.finish()
        names = [member.site for member in members]
        if names != sorted(set(names)):
            raise MalformedMessage("an invitation names its sites out of order or twice")
        return cls(members)


@dataclass(frozen=True)
class Broadcast:
    """The params of the round (little-endian float32) and the shares that peers sealed for this site.

    `heads`: the newest that the server knows of this site's ledger and of some peers'.
    """

    params: bytes
    shares: bytes
    heads: tuple[Head, ...] = ()

    def to_bytes(self) -> bytes:
        return _write(Writer().blob(self.params).blob(self.shares), self.heads).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Broadcast:
        return cls(*_two_and_heads(data, _MAX_BODY, _MAX_BODY))


@dataclass(frozen=True)
class Paired:
    """The content of this round, and a whole frame of the next round (empty if the run ends).

    `heads`: in a reply, the head of the site's ledger after what it did.
    """

    own: bytes
    following: bytes = b""
    heads: tuple[Head, ...] = ()

    def to_bytes(self) -> bytes:
        return _write(Writer().blob(self.own).blob(self.following), self.heads).finish()

    @classmethod
    def from_bytes(cls, data: bytes) -> Paired:
        return cls(*_two_and_heads(data, _MAX_BODY, _MAX_BODY))


def closing_digest(body: bytes) -> bytes:
    """The 32-byte digest of the last params in the body of a CLOSE frame. MalformedMessage for another length."""
    if len(body) != 32:
        raise MalformedMessage("a run is closed with a digest of its params")
    return body


def heads_body(heads: Sequence[Head]) -> bytes:
    """The body of a CLOSED frame."""
    return _write(Writer(), heads).finish()


def heads_from(body: bytes) -> tuple[Head, ...]:
    """The heads in the body of a CLOSED frame. MalformedMessage if it holds anything else."""
    reader = Reader(body)
    heads = _read(reader)
    reader.finish()
    return heads


def abort_body(reason: Reason, slot: int | None = None) -> bytes:
    """The body of an ABORT frame. `slot`: with SHARE, and only with it, the place of the dealer in the cohort."""
    if (slot is None) is (reason is Reason.SHARE):
        raise ValueError("a slot belongs to a share that does not open, and to nothing else")
    return bytes([reason]) if slot is None else Writer().u8(reason).u16(slot).finish()


def abort_reason(body: bytes) -> Reason:
    """The reason in the body of an ABORT frame. MalformedMessage unless it is one known byte, SHARE with a slot."""
    if not body:
        raise MalformedMessage("an abort carries a reason")
    reason = _member(Reason, body[0])
    if len(body) != (3 if reason is Reason.SHARE else 1):
        raise MalformedMessage("an abort carries one byte, and with a share that does not open a slot")
    return reason


def accused_slot(body: bytes) -> int | None:
    """Whose share does not open, by its slot, in the body of an ABORT frame; None with every other reason."""
    return int.from_bytes(body[1:]) if abort_reason(body) is Reason.SHARE else None


def _write(writer: Writer, heads: Sequence[Head]) -> Writer:
    writer.u16(len(heads))
    for head in heads:
        writer.blob(head.to_bytes())
    return writer


def _read(reader: Reader) -> tuple[Head, ...]:
    return tuple(Head.from_bytes(reader.blob(_MAX_HEAD)) for _ in range(reader.u16()))


def _two_and_heads(data: bytes, first: int, second: int) -> tuple[bytes, bytes, tuple[Head, ...]]:
    """Two blobs up to these lengths, then heads, and nothing after them."""
    reader = Reader(data)
    found = reader.blob(first), reader.blob(second), _read(reader)
    reader.finish()
    return found


_E = TypeVar("_E", bound=IntEnum)


def _member(kinds: type[_E], value: int) -> _E:
    try:
        return kinds(value)
    except ValueError:
        raise MalformedMessage(f"{value} is no {kinds.__name__.lower()}") from None
