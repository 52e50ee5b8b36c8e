"""The wire: canonical bytes for messages and for hashing, one encoding for each value.

Every field has a fixed width or carries its length before it, big-endian, so two different sequences of fields of
the same types never share an encoding. Hence a digest of a message can stand for the message. A `Reader` raises
only `MalformedMessage`, reads no further than its buffer, and allocates no more than the caller's limit, whatever
the bytes say. Specified in docs/protocol.md, section 2.

    >>> Writer().u8(3).text("site").finish().hex()
    '030000000473697465'
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TypeAlias, TypeVar

from privacy.errors import MalformedMessage

_Value = TypeVar("_Value")

Octets: TypeAlias = bytes | memoryview
Pieces: TypeAlias = tuple[Octets, ...]
"""A message that is not put together yet."""
TEXT_BYTES = 256
"""What a text has at most, in UTF-8, unless its reader says otherwise: enforced where it is filled, and read."""
_LENGTH = 4
_MAX_BLOB = (1 << 8 * _LENGTH) - 1


class Writer:
    """Append fields, then `finish`. Methods return the writer, so that a message reads as one expression.

    What is appended is held as it is, and copied once, by `finish`: a field can be a vector of gigabytes.
    """

    def __init__(self) -> None:
        self._out: list[Octets] = []

    def u8(self, value: int) -> Writer:
        """An integer in [0, 2^8), 1 byte."""
        return self._integer(value, 1)

    def u16(self, value: int) -> Writer:
        """An integer in [0, 2^16), 2 bytes."""
        return self._integer(value, 2)

    def u32(self, value: int) -> Writer:
        """An integer in [0, 2^32), 4 bytes."""
        return self._integer(value, 4)

    def u64(self, value: int) -> Writer:
        """An integer in [0, 2^64), 8 bytes."""
        return self._integer(value, 8)

    def fixed(self, value: Octets) -> Writer:
        """Bytes whose length the reader knows beforehand."""
        self._out.append(value)
        return self

    def blob(self, value: Octets | Pieces, limit: int = _MAX_BLOB) -> Writer:
        """Bytes of any length below 2^32, after their length. ValueError past the `limit` of who reads them."""
        pieces = value if isinstance(value, tuple) else (value,)
        size = sum(map(len, pieces))
        if size > limit:
            raise ValueError(f"a field of a message holds at most {limit} bytes")
        self._integer(size, _LENGTH)._out.extend(pieces)
        return self

    def text(self, value: str, limit: int = TEXT_BYTES) -> Writer:
        """Text, as a blob of UTF-8. ValueError for lone surrogates, which have no UTF-8, and past the `limit`."""
        return self.blob(value.encode(), limit)

    def by_slot(self, entries: Mapping[int, _Value], write: Callable[[Writer, _Value], object]) -> Writer:
        """A map: how many entries, then each slot (16 bits), ascending, and what `write` appends for its entry."""
        self.u16(len(entries))
        for slot in sorted(entries):
            write(self.u16(slot), entries[slot])
        return self

    def finish(self) -> bytes:
        """Everything written so far."""
        return b"".join(self._out)

    def pieces(self) -> Pieces:
        """The same, not put together: whoever sends it does that."""
        return tuple(self._out)

    def _integer(self, value: int, width: int) -> Writer:
        if not 0 <= value < 1 << 8 * width:
            raise ValueError(f"a {8 * width}-bit field holds no such value")
        self._out.append(value.to_bytes(width, "big"))
        return self


class Reader:
    """Read the fields of one message in order, then `finish`. Every problem is a `MalformedMessage`.

    Fields are copies; what `view` and `blob_view` give is not, and keeps the whole message in memory.
    """

    def __init__(self, data: Octets) -> None:
        self._data = data
        self._at = 0

    def u8(self) -> int:
        """An integer of 1 byte."""
        return int.from_bytes(self.fixed(1), "big")

    def u16(self) -> int:
        """An integer of 2 bytes."""
        return int.from_bytes(self.fixed(2), "big")

    def u32(self) -> int:
        """An integer of 4 bytes."""
        return int.from_bytes(self.fixed(4), "big")

    def u64(self) -> int:
        """An integer of 8 bytes."""
        return int.from_bytes(self.fixed(8), "big")

    def fixed(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise MalformedMessage("a message ends too early")
        field = bytes(self._data[self._at : end])
        self._at = end
        return field

    def view(self, size: int) -> memoryview:
        """Exactly `size` bytes, where they are."""
        end = self._at + size
        if end > len(self._data):
            raise MalformedMessage("a message ends too early")
        field = memoryview(self._data)[self._at : end]
        self._at = end
        return field

    def blob_view(self, limit: int) -> memoryview:
        """As `blob`, where they are."""
        size = self.u32()
        if size > limit:
            raise MalformedMessage(f"a field of a message is longer than {limit} bytes")
        return self.view(size)

    def blob(self, limit: int) -> bytes:
        """Bytes after their length, which may not exceed `limit`."""
        size = self.u32()
        if size > limit:
            raise MalformedMessage(f"a field of a message is longer than {limit} bytes")
        return self.fixed(size)

    def text(self, limit: int = TEXT_BYTES) -> str:
        """Text of at most `limit` bytes of UTF-8."""
        try:
            return self.blob(limit).decode()
        except UnicodeDecodeError:
            raise MalformedMessage("a text in a message is not UTF-8") from None

    def by_slot(self, read: Callable[[Reader], _Value]) -> dict[int, _Value]:
        """A map that `Writer.by_slot` wrote. Slots have to ascend strictly, so that a map has one encoding."""
        entries: dict[int, _Value] = {}
        last = -1
        for _ in range(self.u16()):
            slot = self.u16()
            if slot <= last:
                raise MalformedMessage("slots are not in ascending order")
            entries[slot], last = read(self), slot
        return entries

    def finish(self) -> None:
        """MalformedMessage if bytes follow: a byte that is not read would be a byte that is not checked."""
        if self._at != len(self._data):
            raise MalformedMessage("a message has bytes after its end")


def digest(label: str, *parts: Octets) -> bytes:
    """SHA-256 over the length-prefixed label and parts, 32 bytes. Labels keep uses of the hash apart."""
    hashed = hashlib.sha256()
    for part in (label.encode(), *parts):
        hashed.update(len(part).to_bytes(_LENGTH, "big"))
        hashed.update(part)
    return hashed.digest()


def digests(label: str, firsts: Iterable[bytes], second: bytes) -> list[bytes]:
    """`digest(label, first, second)` of each of these, in a third of the time."""
    head, tail, hashed = (
        _prefix(len(label.encode())) + label.encode(),
        _prefix(len(second)) + second,
        hashlib.sha256,
    )
    return [hashed(head + _prefix(len(first)) + first + tail).digest() for first in firsts]


@lru_cache
def _prefix(length: int) -> bytes:
    return length.to_bytes(_LENGTH, "big")
