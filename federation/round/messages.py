"""The messages of a run, and their bytes: one frame, few kinds, every field length-limited.

A frame is `kind, run, round, attempt, body, signature`; the body of a secure-aggregation step is that machine's own
message (docs/protocol.md). Requests flow from server to site, each gets exactly one reply:

    HELLO -> WELCOME         the plan and the signed roster, and the site's consent, signed by it
    INVITE -> ADVERT         who is in a round; one-time public keys
    ADVERTS -> SHARES        everyone's keys; sealed shares
    BROADCAST -> MASKED      params and forwarded shares; the masked update, signed, with a vote
    SURVIVORS -> VOTE        only if a site was lost: the sites in the sum; a vote for them
    CERTIFICATE -> REVEAL    a quorum's votes; the shares that unmask this sum and nothing else
    CLOSE -> CLOSED          the run is over, and what its model is
    anything -> ABORT        a reason from a fixed list, never a text: an exception could carry data. Where a share
                             does not open, also the slot of its dealer, which is public

BROADCAST and CERTIFICATE, and their replies, can carry a whole frame of the next round beside their own content:
its INVITE or ADVERTS, and the answers. So the keys of a round travel with the round before it, and a round that
loses no site takes two exchanges.

Requests are signed by the coordinator that the roster names (`federation.round.signed`): nothing that is unsigned
changes a ledger or a run. Of replies, what has to be authentic is signed inside.

Signed heads of ledgers travel along (`privacy.ledger.heads`): a site shows its own with WELCOME, MASKED, REVEAL and
CLOSED, and is shown its own and some peers' with HELLO and BROADCAST. So others can tell when a ledger was cut.
What a message may hold of them is bounded, and the same bound holds for who fills it: `few` chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import TypeVar

from privacy.errors import MalformedMessage
from privacy.ledger.heads import Head
from privacy.signing import SIGNATURE_BYTES
from privacy.wire import Octets, Pieces, Reader, Writer

MAX_SITES = 10_000
MAX_PLAN = 1 << 20
MAX_ROSTER = 1 << 26
MAX_HELLO = 1 << 24  # a plan, a roster of MAX_SITES and a head of each
FRAME_ROOM, PEER_ROOM = (
    1 << 16,
    1 << 12,
)  # beside the params: bytes of a request that are always there, and per site: a sealed share and an advert
MAX_HEADS = MAX_SITES  # in a HELLO or a WELCOME
MAX_SHOWN = 64  # in a BROADCAST: a site's own ledgers, and those of a few peers
MAX_LEDGERS = 16  # of one site that anybody remembers
_MAX_BODY = 1 << 31
_HEADER = 1 + 16 + 4 + 4
_MAX_HEAD = 1 << 10
_MAX_CONSENT = 1 << 12
_DIGEST_BYTES = 32
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
    LEFT = 8  # the site's people have left the run
    CODE = 9  # the task's code is not there, or is not what the plan pins


@dataclass(frozen=True)
class Frame:
    """One message of one run."""

    kind: Kind
    run: bytes
    round: int
    attempt: int
    body: Octets = b""
    signature: bytes = b""  # the coordinator's, in a request

    def to_bytes(self) -> bytes:
        return self._around(self.body).finish()

    def around(self, body: Pieces) -> Pieces:
        """The frame with this body, not put together: params in it are held once for all sites."""
        return self._around(body).pieces()

    def _around(self, body: Octets | Pieces) -> Writer:
        writer = Writer().u8(self.kind).fixed(self.run).u32(self.round).u32(self.attempt)
        return writer.blob(body, _MAX_BODY).blob(self.signature, SIGNATURE_BYTES)

    @classmethod
    def from_bytes(cls, data: Octets) -> Frame:
        """A frame whose body is where it was: it is not copied."""
        reader = Reader(data)
        kind = _member(Kind, reader.u8())
        run, number, attempt = reader.fixed(RUN_ID_BYTES), reader.u32(), reader.u32()
        body, signature = reader.blob_view(_MAX_BODY), reader.blob(SIGNATURE_BYTES)
        reader.finish()
        return cls(kind, run, number, attempt, body, signature)

    @classmethod
    def header(cls, data: Octets) -> Frame:
        """The frame without its body, of which nothing is looked at. MalformedMessage if there is none."""
        return cls.from_bytes(bytes(data[:_HEADER]) + bytes(4 + 4))

    def reply(self, kind: Kind, body: Octets = b"") -> Frame:
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

    `root`: of the roster that it goes by; `greeting`: digest of the HELLO that it answers. `head` is that of its
    ledger, which is named by it for the whole run; `dimension` is the number of params of the model that it made
    for the plan, 0 if the run is over there. All this is its `statement`, and `signature` is the site's.
    `heads`: of the peers' ledgers that it has witnessed, each signed by its own site.
    """

    member: Member
    plan_digest: str
    noise_multiplier: str
    root: bytes
    greeting: bytes
    head: Head
    dimension: int = 0
    signature: bytes = bytes(SIGNATURE_BYTES)
    heads: tuple[Head, ...] = ()

    @property
    def statement(self) -> bytes:
        """What the site signs."""
        writer = Writer().text(self.member.site).u64(self.member.size).text(self.plan_digest)
        writer.text(self.noise_multiplier).fixed(self.root).fixed(self.greeting)
        return writer.blob(self.head.to_bytes(), _MAX_HEAD).u64(self.dimension).finish()

    def to_consent(self) -> bytes:
        """What is kept of it: all that the site signed."""
        return replace(self, heads=()).to_bytes()

    def to_bytes(self) -> bytes:
        writer = Writer().blob(self.statement, _MAX_CONSENT).fixed(self.signature)
        return _write(writer, self.heads, MAX_HEADS).finish()

    @classmethod
    def from_bytes(cls, data: Octets) -> Welcome:
        reader = Reader(data)
        statement, signature = reader.blob(_MAX_CONSENT), reader.fixed(SIGNATURE_BYTES)
        heads = _read(reader, MAX_HEADS)
        reader.finish()
        reader = Reader(statement)
        member, plan, noise = Member(reader.text(), reader.u64()), reader.text(), reader.text()
        root, greeting = reader.fixed(_DIGEST_BYTES), reader.fixed(_DIGEST_BYTES)
        head, dimension = Head.from_bytes(reader.blob(_MAX_HEAD)), reader.u64()
        reader.finish()
        return cls(member, plan, noise, root, greeting, head, dimension, signature, heads)


@dataclass(frozen=True)
class Hello:
    """The start of a run: the plan's canonical bytes, and the roster under the consortium's signatures.

    `issued`, `expires`: when the coordinator said it, and until when it may be believed, in seconds since 1970.
    """

    plan: bytes
    roster: bytes
    issued: int
    expires: int
    heads: tuple[Head, ...] = ()

    def to_bytes(self) -> bytes:
        writer = Writer().u64(self.issued).u64(self.expires)
        writer.blob(self.plan, MAX_PLAN).blob(self.roster, MAX_ROSTER)
        return _write(writer, self.heads, MAX_HEADS).finish()

    @classmethod
    def from_bytes(cls, data: Octets) -> Hello:
        reader = Reader(data)
        issued, expires = reader.u64(), reader.u64()
        plan, roster = reader.blob(MAX_PLAN), reader.blob(MAX_ROSTER)
        heads = _read(reader, MAX_HEADS)
        reader.finish()
        return cls(plan, roster, issued, expires, heads)


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
    def from_bytes(cls, data: Octets) -> Invitation:
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

    params: Octets
    shares: Octets
    heads: tuple[Head, ...] = ()

    def to_bytes(self) -> bytes:
        return b"".join(self.to_pieces())

    def to_pieces(self) -> Pieces:
        """The same, not put together."""
        return _write(Writer().blob(self.params).blob(self.shares), self.heads, MAX_SHOWN).pieces()

    def statement(self, params_digest: bytes) -> bytes:
        """What is signed of it: much shorter, and the digest of the params is the same for all sites."""
        return _write(Writer().fixed(params_digest).blob(self.shares), self.heads, MAX_SHOWN).finish()

    @classmethod
    def from_bytes(cls, data: Octets) -> Broadcast:
        return cls(*_two_and_heads(data, MAX_SHOWN))


@dataclass(frozen=True)
class Paired:
    """The content of this round, and a whole frame of the next round (empty if the run ends).

    `heads`: in a reply, the head of the site's ledger after what it did, and no other.
    """

    own: Octets
    following: Octets = b""
    heads: tuple[Head, ...] = ()

    def to_bytes(self) -> bytes:
        return b"".join(self.around(self.own))

    def around(self, own: Octets | Pieces) -> Pieces:
        """The same with this content, not put together."""
        return _write(Writer().blob(own).blob(self.following), self.heads, 1).pieces()

    @classmethod
    def from_bytes(cls, data: Octets) -> Paired:
        return cls(*_two_and_heads(data, 1))


def closing_digest(body: Octets) -> bytes:
    """The 32-byte digest of the model in what a CLOSE frame says. MalformedMessage for another length, and 0.

    Zeros stand for the params of a run that the people of a site closed before it began.
    """
    if len(body) != _DIGEST_BYTES or body == bytes(_DIGEST_BYTES):
        raise MalformedMessage("a run is closed with a digest of its params")
    return bytes(body)


def heads_body(heads: Sequence[Head]) -> bytes:
    """The body of a CLOSED frame: one head."""
    return _write(Writer(), heads, 1).finish()


def heads_from(body: Octets) -> tuple[Head, ...]:
    """The head in the body of a CLOSED frame. MalformedMessage if it holds anything else."""
    reader = Reader(body)
    heads = _read(reader, 1)
    reader.finish()
    return heads


def few(heads: Iterable[Head], most: int = MAX_HEADS) -> tuple[Head, ...]:
    """As many of these heads as one message may hold: the newest of a ledger, a few ledgers of a site, in order.

    Of a site with more ledgers the first ones stay, so that no number of new ones pushes out what is known.
    """
    chosen: dict[str, dict[bytes, Head]] = {}
    for head in heads:
        ledgers = chosen.setdefault(head.site, {})
        known = ledgers.get(head.ledger)
        if known.seq < head.seq if known is not None else len(ledgers) < MAX_LEDGERS:
            ledgers[head.ledger] = head
    found = [head for _, ledgers in sorted(chosen.items()) for _, head in sorted(ledgers.items())]
    return tuple(found[:most])


def abort_body(reason: Reason, slot: int | None = None) -> bytes:
    """The body of an ABORT frame. `slot`: with SHARE, and only with it, the place of the dealer in the cohort."""
    if (slot is None) is (reason is Reason.SHARE):
        raise ValueError("a slot belongs to a share that does not open, and to nothing else")
    return bytes([reason]) if slot is None else Writer().u8(reason).u16(slot).finish()


def abort_reason(body: Octets) -> Reason:
    """The reason in the body of an ABORT frame. MalformedMessage unless it is one known byte, SHARE with a slot."""
    if not body:
        raise MalformedMessage("an abort carries a reason")
    reason = _member(Reason, body[0])
    if len(body) != (3 if reason is Reason.SHARE else 1):
        raise MalformedMessage("an abort carries one byte, and with a share that does not open a slot")
    return reason


def accused_slot(body: Octets) -> int | None:
    """Whose share does not open, by its slot, in the body of an ABORT frame; None with every other reason."""
    return int.from_bytes(body[1:]) if abort_reason(body) is Reason.SHARE else None


def _write(writer: Writer, heads: Sequence[Head], most: int) -> Writer:
    if len(heads) > most:
        raise ValueError(f"a message holds at most {most} heads of ledgers")
    writer.u16(len(heads))
    for head in sorted(heads, key=_place):
        writer.blob(head.to_bytes(), _MAX_HEAD)
    return writer


def _read(reader: Reader, most: int) -> tuple[Head, ...]:
    count = reader.u16()
    if count > most:
        raise MalformedMessage(f"a message holds at most {most} heads of ledgers")
    heads = tuple(Head.from_bytes(reader.blob(_MAX_HEAD)) for _ in range(count))
    places = [_place(head) for head in heads]
    if any(one >= other for one, other in pairwise(places)):
        raise MalformedMessage("the heads of a message are not in order, or two are of one ledger")
    return heads


def _place(head: Head) -> tuple[str, bytes]:
    return head.site, head.ledger


def _two_and_heads(data: Octets, most: int) -> tuple[Octets, Octets, tuple[Head, ...]]:
    """Two blobs, then heads, and nothing after them."""
    reader = Reader(data)
    found = reader.blob_view(_MAX_BODY), reader.blob_view(_MAX_BODY), _read(reader, most)
    reader.finish()
    return found


_E = TypeVar("_E", bound=IntEnum)


def _member(kinds: type[_E], value: int) -> _E:
    try:
        return kinds(value)
    except ValueError:
        raise MalformedMessage(f"{value} is no {kinds.__name__.lower()}") from None
