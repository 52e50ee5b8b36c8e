"""One request and one reply on a connection: a length of 4 octets, big-endian, and that many octets."""

from __future__ import annotations

import socket
import struct
import time
from typing import Final

from federation.round.transport import LARGEST

_LENGTH: Final = struct.Struct(">I")
_CHUNK: Final = 1 << 20


def read(connection: socket.socket, deadline: float, largest: int = LARGEST) -> bytes:
    """What the peer has to say. OSError if that is longer than `largest`, cut short, or late."""
    (length,) = _LENGTH.unpack(_read_exactly(connection, _LENGTH.size, deadline))
    if length > largest:
        raise ConnectionAbortedError("a frame longer than any that is carried")
    return _read_exactly(connection, length, deadline)


def write(connection: socket.socket, data: bytes, deadline: float) -> None:
    """Say `data`. OSError if the peer leaves, or does not take it in time."""
    connection.settimeout(seconds_left(deadline))
    connection.sendall(_LENGTH.pack(len(data)))
    connection.sendall(data)


def seconds_left(deadline: float) -> float:
    """Seconds until the monotonic clock shows `deadline`. TimeoutError if it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _read_exactly(connection: socket.socket, length: int, deadline: float) -> bytes:
    """Grows with what has arrived: a length that lies costs no memory."""
    data = bytearray()
    while len(data) < length:
        connection.settimeout(seconds_left(deadline))
        part = connection.recv(min(_CHUNK, length - len(data)))
        if not part:
            raise ConnectionAbortedError("the peer left in the middle of a frame")
        data += part
    return bytes(data)
