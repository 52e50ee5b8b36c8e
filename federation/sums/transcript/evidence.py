"""What was signed and opened in a round, as bytes: one encoding for each content, read strictly.

    blob(Adverts of U1) ‖ set U2 ‖ map of U3 to first vote (upload 32 ‖ signature 64) ‖ blob(Certificate)
    ‖ map of U3 to (map of dealers to digest 32) ‖ u32 count ‖ (u16 dealer ‖ u16 recipient ‖ Dealt), ascending
    ‖ map of U3 to m 32 ‖ map of U2 without U3 to s 32 ‖ map of U3 to (u8 level ‖ e 32)

Session and context are not in it: a reader works them out. Specified in docs/protocol.md, section 11.
"""

from __future__ import annotations

from collections.abc import Iterator

from privacy.errors import MalformedMessage
from privacy.secagg.messages import Adverts, Certificate, Dealt, Vote, part_names
from privacy.secagg.opened import Opened
from privacy.signing import SIGNATURE_BYTES
from privacy.wire import Reader, Writer

_DIGEST = 32
_MAX_ADVERTS = 1 << 28
_MAX_CERTIFICATE = 1 << 24


def to_bytes(opened: Opened) -> bytes:
    """Canonical bytes of what was opened."""
    writer = Writer().blob(Adverts(opened.adverts).to_bytes())
    writer.by_slot(dict.fromkeys(opened.sharers, b""), Writer.fixed)
    writer.by_slot(opened.votes, lambda out, vote: out.fixed(vote.upload + vote.signature))
    writer.blob(opened.certificate.to_bytes())
    writer.by_slot(opened.taken, lambda out, taken: out.by_slot(taken, Writer.fixed))
    writer.u32(len(opened.dealt))
    for dealer, recipient in sorted(opened.dealt):
        writer.u16(dealer).u16(recipient).fixed(opened.dealt[dealer, recipient].to_bytes())
    writer.by_slot(opened.seeds, Writer.fixed).by_slot(opened.secrets, Writer.fixed)
    return writer.by_slot(opened.excess, lambda out, each: out.u8(each[0]).fixed(each[1])).finish()


def from_bytes(data: bytes, levels: int, session: bytes, context: bytes) -> Opened:
    """What `to_bytes` wrote of a round with so many levels of excess noise; MalformedMessage for anything else."""
    reader = Reader(data)
    adverts = Adverts.from_bytes(reader.blob(_MAX_ADVERTS), levels)
    opened = Opened(
        session=session,
        context=context,
        adverts=adverts.by_slot,
        sharers=frozenset(reader.by_slot(lambda _: None)),
        votes=reader.by_slot(lambda each: Vote(each.fixed(_DIGEST), each.fixed(SIGNATURE_BYTES))),
        certificate=Certificate.from_bytes(reader.blob(_MAX_CERTIFICATE)),
        taken=reader.by_slot(lambda each: each.by_slot(_secret)),
        dealt=dict(_dealt(reader, levels)),
        seeds=reader.by_slot(_secret),
        secrets=reader.by_slot(_secret),
        excess=reader.by_slot(lambda each: (each.u8(), each.fixed(_DIGEST))),
    )
    reader.finish()
    return opened


def _secret(reader: Reader) -> bytes:
    return reader.fixed(_DIGEST)


def _dealt(reader: Reader, levels: int) -> Iterator[tuple[tuple[int, int], Dealt]]:
    size, last = len(part_names(levels)) * _DIGEST + SIGNATURE_BYTES, (-1, -1)
    for _ in range(reader.u32()):
        ends = reader.u16(), reader.u16()
        if ends <= last:
            raise MalformedMessage("the dealers of a transcript are not in ascending order")
        yield ends, Dealt.from_bytes(reader.fixed(size), levels)
        last = ends
