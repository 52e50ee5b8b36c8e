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
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from typing import Protocol, TypeAlias, TypeVar

from privacy.errors import MalformedMessage

_Value = TypeVar("_Value")

Octets: TypeAlias = bytes | memoryview
Pieces: TypeAlias = tuple[Octets, ...]
"""A message that is not put together yet."""
TEXT_BYTES = 256
"""What a text has at most, in UTF-8, unless its reader says otherwise: enforced where it is filled, and read."""
BLOCK = 1 << 20  # bytes of a stored message that are read at a time
_LENGTH = 4
_MAX_BLOB = (1 << 8 * _LENGTH) - 1


class Stored:
    """Bytes that lie elsewhere, as in a file: too many to be held at once. Sliced like bytes, read in blocks.

    `read` gives so many bytes from a place on, fewer if there are no more: then MalformedMessage, whoever reads.
    Other than bytes in memory these can change. So who has checked a digest of them compares the digest of what
    it reads the next time, too, before it uses anything that follows from that.
    """

    def __init__(self, read: Callable[[int, int], Octets], size: int, start: int = 0) -> None:
        self._read_from, self._size, self._start = read, size, start

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, span: slice) -> bytes:
        start, stop, _ = span.indices(self._size)
        return bytes(self.read(start, max(0, stop - start)))

    def read(self, start: int, size: int) -> Octets:
        """Exactly so many bytes."""
        found = self._read_from(self._start + start, size)
        if start + size > self._size or len(found) != size:
            raise MalformedMessage("a stored message ends too early")
        return found

    def part(self, start: int, size: int) -> Stored:
        """So many of these bytes, where they are."""
        return Stored(self._read_from, size, self._start + start)

    def blocks(self) -> Iterator[Octets]:
        """All of them, in order."""
        for start in range(0, self._size, BLOCK):
            yield self.read(start, min(BLOCK, self._size - start))


Content: TypeAlias = Octets | Stored


def blocks(content: Content) -> Iterator[Octets]:
    """All bytes in order: stored ones in blocks, others at once."""
    return content.blocks() if isinstance(content, Stored) else iter((content,))


class Sink(Protocol):
    """Where a message of known length is written: in parts, in any order."""

    def write(self, start: int, data: Octets, /) -> None:
        """Put these bytes at this place."""
        ...

    def part(self, start: int, size: int, /) -> Content:
        """So many bytes of what was written."""
        ...


class Held:
    """A Sink in memory, of a message of `size` bytes, at least one."""

    def __init__(self, size: int) -> None:
        self._whole = BytesIO()
        self.write(size - 1, bytes(1))  # fills it with zeros: other than BytesIO(bytes(size)) it is held once

    def write(self, start: int, data: Octets) -> None:
        """Put these bytes at this place."""
        self._whole.seek(start)
        self._whole.write(data)

    def part(self, start: int, size: int) -> memoryview:
        """So many bytes of what was written. Nothing is written as long as it is in use."""
        return self._whole.getbuffer()[start : start + size]

    def whole(self) -> bytes:
        """All of it; not a copy."""
        return self._whole.getvalue()


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

    def __init__(self, data: Content) -> None:
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
        """Exactly `size` bytes, where they are. Of a stored message they are read."""
        field = self.content(size)
        return memoryview(field[:] if isinstance(field, Stored) else field)

    def content(self, size: int) -> Content:
        """Exactly `size` bytes, where they are, also where that is no memory."""
        start, end = self._at, self._at + size
        if end > len(self._data):
            raise MalformedMessage("a message ends too early")
        self._at = end
        data = self._data
        return data.part(start, size) if isinstance(data, Stored) else memoryview(data)[start:end]

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


def digest(label: str, *parts: Content) -> bytes:
    """SHA-256 over the length-prefixed label and parts, 32 bytes. Labels keep uses of the hash apart."""
    hashed = hashlib.sha256()
    for part in (label.encode(), *parts):
        hashed.update(_prefix(len(part)))
        for block in blocks(part):
            hashed.update(block)
    return hashed.digest()


class Digest:
    """`digest` of a label and one part of known length, whose bytes come in blocks."""

    def __init__(self, label: str, length: int) -> None:
        name = label.encode()
        self._hashed = hashlib.sha256(_prefix(len(name)) + name + _prefix(length))

    def update(self, block: Octets) -> None:
        """The next bytes."""
        self._hashed.update(block)

    def digest(self) -> bytes:
        """The 32 bytes, once all have come."""
        return self._hashed.digest()


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
