"""Snapshots at rest: sealed by AES-256-GCM under the site's own key, for one site in one round.

Every snapshot is sealed under a key of its own, derived from 32 fresh random bytes that travel before it, so the
zero nonce never repeats. Session and slot are authenticated with it: a snapshot of another round does not open.
That one is the newest cannot be seen from it; the caller's journal must know. See docs/protocol.md, section 8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from privacy.errors import ProtocolError
from privacy.secagg.keys import Channel, derive
from privacy.secagg.states import State, read_state, write_state
from privacy.suite import SUITE, require_suite
from privacy.wire import Reader, Writer

KEY_BYTES = 32

_SALT_BYTES = 32
_REPLY_LIMIT = (1 << 32) - 1

# For each step already answered: the digest of its request, and the reply.
Answered = Mapping[int, tuple[bytes, bytes]]


def seal(
    state: State, answered: Answered, key: bytes, place: bytes, entropy: Callable[[int], bytes]
) -> bytes:
    """A snapshot that opens with this key, at this place (session and slot), only."""
    writer = write_state(Writer().u8(SUITE), state).u8(len(answered))
    for step in sorted(answered):
        request, reply = answered[step]
        writer.u8(step).fixed(request).blob(reply)
    salt = entropy(_SALT_BYTES)
    return salt + _channel(key, salt, place).seal(writer.finish())


def unseal(sealed: bytes, key: bytes, place: bytes) -> tuple[State, dict[int, tuple[bytes, bytes]]]:
    """What was sealed; ProtocolError if it was altered, or made with another key or at another place."""
    salt, body = sealed[:_SALT_BYTES], sealed[_SALT_BYTES:]
    plain = _channel(key, salt, place).open(body)
    if plain is None:
        raise ProtocolError("a snapshot does not open: it was altered, or is of another key, site or round")
    reader = Reader(plain)
    require_suite(reader.u8(), "a snapshot")
    state = read_state(reader)
    answered = {}
    for _ in range(reader.u8()):
        step = reader.u8()
        answered[step] = reader.fixed(32), reader.blob(_REPLY_LIMIT)
    reader.finish()
    return state, answered


def _channel(key: bytes, salt: bytes, place: bytes) -> Channel:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key for snapshots has {KEY_BYTES} bytes")
    return Channel(derive(key, salt, "snapshot", place), place)
