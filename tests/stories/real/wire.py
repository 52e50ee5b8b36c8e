"""What may be seen of a federation from outside: TLS on the line, masked vectors in what is carried."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import numpy as np

from clients.training.work import Trainer, contribution
from federation.round.terms import Terms
from federation.sums.transcript.replay import to_packed
from tests.stories.real.relay import Relay, Tap

HANDSHAKE, DATA = 22, 23
_KINDS = {20, 21, HANDSHAKE, DATA}  # change of cipher, alert


def records(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """The TLS records of one direction of a connection: type and body. AssertionError if it is anything else.

    The last one may be cut off, where a connection was.
    """
    place = 0
    while place < len(stream):
        head = stream[place : place + 5]
        assert head[0] in _KINDS, "not TLS"
        assert head[1:2] in (b"", b"\x03"), "not TLS"
        length = int.from_bytes(head[3:5]) if len(head) == 5 else 0
        assert length <= (1 << 14) + 256, "not TLS"
        yield head[0], stream[place + 5 : place + 5 + length]
        place += 5 + length


def check_line(relay: Relay, secrets: dict[str, bytes]) -> int:
    """All that passed is TLS and none of these bytes; how many bytes passed as data."""
    seen = 0
    for tap in relay.taps:
        seen += _check_tap(tap)
        for name, secret in secrets.items():
            assert secret not in tap.up, f"{name} is on the line"
            assert secret not in tap.down, f"{name} is on the line"
    return seen


def _check_tap(tap: Tap) -> int:
    seen = 0
    for stream in (bytes(tap.up), bytes(tap.down)):
        kinds = [(kind, len(body)) for kind, body in records(stream)]
        assert not kinds or kinds[0][0] == HANDSHAKE
        seen += sum(size for kind, size in kinds if kind == DATA)
    return seen


def forms_of(terms: Terms, site: str, params: object, trainer: Trainer) -> dict[str, bytes]:
    """A site's contribution to a round before its mask, in every form in which bytes could hold it."""
    vector = contribution(terms, site, params, trainer)  # type: ignore[arg-type]
    real = terms.codec.decode(terms.codec.from_ring(vector))
    return {
        "packed": to_packed(vector, terms.codec.ring_bits),
        "integers": vector.astype("<u8").tobytes(),
        "float64": np.asarray(real, "<f8").tobytes(),
        "float32": np.asarray(real, "<f4").tobytes(),
    }


def counts_in(data: bytes, count: int) -> list[int]:
    """Where a count stands in bytes: as a number of 8 bytes, or in digits."""
    forms = [struct.pack(form, count) for form in ("<Q", ">Q", "<d", ">d")]
    found = [data.find(form) for form in forms]
    found += [match.start() for match in re.finditer(rb"(?<![0-9A-Za-z])%d(?![0-9A-Za-z])" % count, data)]
    return [place for place in found if place >= 0]
