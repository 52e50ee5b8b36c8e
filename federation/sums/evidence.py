"""What was signed and opened in a round, as bytes: one encoding for each content, read strictly.

    blob(Adverts of U1) ‖ set U2 ‖ map of U3 to first vote (upload 32 ‖ signature 64) ‖ blob(Certificate)
    ‖ map of U3 to (map of dealers to digest 32) ‖ u32 count ‖ (u16 dealer ‖ u16 recipient ‖ Dealt), ascending
    ‖ map of U3 to m 32 ‖ map of U2 without U3 to s 32 ‖ map of U3 to (u8 level ‖ e 32)

Session and context are not in it: a reader works them out. Specified in docs/protocol.md, section 11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from privacy.errors import MalformedMessage
from privacy.secagg.messages import WRAP_BYTES, Adverts, Certificate, Dealt, Vote, part_names
from privacy.secagg.opened import Opened
from privacy.signing import SIGNATURE_BYTES
from privacy.wire import Reader, Writer

_DIGEST = 32
_MAX_ADVERTS = 1 << 28
_MAX_CERTIFICATE = 1 << 24

_Value = TypeVar("_Value")


def to_bytes(opened: Opened) -> bytes:
    """Canonical bytes of what was opened."""
    writer = Writer().blob(Adverts(opened.adverts).to_bytes())
    _write(writer, dict.fromkeys(opened.sharers, b""))
    _write(writer, {slot: vote.upload + vote.signature for slot, vote in opened.votes.items()})
    writer.blob(opened.certificate.to_bytes())
    _write(writer, {slot: _map_bytes(taken) for slot, taken in opened.taken.items()})
    writer.u32(len(opened.dealt))
    for dealer, recipient in sorted(opened.dealt):
        writer.u16(dealer).u16(recipient).fixed(opened.dealt[dealer, recipient].to_bytes())
    _write(writer, opened.seeds)
    _write(writer, opened.secrets)
    _write(writer, {slot: bytes([level]) + seed for slot, (level, seed) in opened.excess.items()})
    return writer.finish()


def from_bytes(data: bytes, levels: int, session: bytes, context: bytes) -> Opened:
    """What `to_bytes` wrote of a round with so many levels of excess noise; MalformedMessage for anything else."""
    reader = Reader(data)
    adverts = Adverts.from_bytes(reader.blob(_MAX_ADVERTS), levels)
    opened = Opened(
        session=session,
        context=context,
        adverts=adverts.by_slot,
        sharers=frozenset(_read(reader, lambda _: None)),
        votes=_read(reader, lambda each: Vote(each.fixed(_DIGEST), each.fixed(SIGNATURE_BYTES))),
        certificate=Certificate.from_bytes(reader.blob(_MAX_CERTIFICATE)),
        taken=_read(reader, lambda each: _read(each, _secret)),
        dealt=dict(_dealt(reader, levels)),
        seeds=_read(reader, _secret),
        secrets=_read(reader, _secret),
        excess=_read(reader, lambda each: (each.u8(), each.fixed(_DIGEST))),
    )
    reader.finish()
    return opened


def wraps_bytes(wraps: Mapping[int, bytes]) -> bytes:
    """The wraps that came with a vector, as they stand before it."""
    return _map_bytes(wraps)


def wraps_from(data: bytes) -> dict[int, bytes]:
    """The inverse of `wraps_bytes`."""
    reader = Reader(data)
    wraps = _read(reader, lambda each: each.fixed(WRAP_BYTES))
    reader.finish()
    return wraps


def _map_bytes(entries: Mapping[int, bytes]) -> bytes:
    writer = Writer()
    _write(writer, entries)
    return writer.finish()


def _write(writer: Writer, entries: Mapping[int, bytes]) -> None:
    writer.u16(len(entries))
    for slot in sorted(entries):
        writer.u16(slot).fixed(entries[slot])


def _read(reader: Reader, entry: Callable[[Reader], _Value]) -> dict[int, _Value]:
    """A map by slot; MalformedMessage unless slots ascend strictly, so that a map has one encoding."""
    found: dict[int, _Value] = {}
    last = -1
    for _ in range(reader.u16()):
        slot = reader.u16()
        if slot <= last:
            raise MalformedMessage("the slots of a transcript are not in ascending order")
        found[slot], last = entry(reader), slot
    return found


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
