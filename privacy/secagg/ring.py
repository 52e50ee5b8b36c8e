"""Vectors of integers modulo 2^b: native wrap in wide lanes, b-bit fields on the wire.

2^b divides 2^16, 2^32 and 2^64, so additions may wrap in whole machine words of L bits, the narrowest that hold
an element, and be reduced once, at the end.

The wire form wastes no bit and needs no shuffle. F = L / gcd(b, L) fields fill W = b / gcd(b, L) words exactly.
With R = ceil(length / F), element f R + r is field f of column r: fields of one column lie R elements apart,
so each instruction of the machine handles the same field of many columns at once. A column's fields, lowest
first, form a string of W L bits; its words, lowest first, are sent row by row, word w of column r at place
w R + r, little-endian. Elements past the length are zero. See docs/protocol.md, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from io import BytesIO
from math import gcd

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MalformedMessage
from privacy.wire import Octets

RingVector = NDArray[np.unsignedinteger]
Lanes = NDArray[np.unsignedinteger]

# Handled at a time: enough that a call to numpy costs little beside its work, little enough that it is still in
# the cache at the next call.
_CHUNK_BYTES = 1 << 18


@cache
def lane_type(bits: int) -> np.dtype[np.unsignedinteger]:
    """The narrowest machine word that holds an element, of 16, 32 or 64 bits."""
    return np.dtype(f"u{2 if bits <= 16 else 4 if bits <= 32 else 8}")


def to_lanes(vector: Lanes, bits: int) -> Lanes:
    """A fresh copy in lanes. ValueError unless every element lies in [0, 2^bits)."""
    if vector.dtype not in (np.uint64, lane_type(bits)) or vector.ndim != 1:
        raise ValueError("a ring vector is one-dimensional, of dtype uint64 or in lanes")
    if vector.size and int(vector.max()) >> bits:
        raise ValueError(f"a ring vector holds an element of more than {bits} bits")
    return vector.astype(lane_type(bits))


def reduce(lanes: Lanes, bits: int) -> None:
    """Modulo 2^bits, in place."""
    np.bitwise_and(lanes, lanes.dtype.type((1 << bits) - 1), out=lanes)


def packed_size(length: int, bits: int) -> int:
    """Bytes of a packed vector."""
    fields, words = _period(bits)
    return -(-length // fields) * words * lane_type(bits).itemsize


def pack(lanes: Lanes, bits: int) -> bytes:
    """The wire form of reduced lanes."""
    wire = BytesIO(bytes(packed_size(lanes.size, bits)))
    _write(_words(wire.getbuffer(), bits), lanes, bits)
    return wire.getvalue()  # no copy: the only view of its bytes is gone


def unpack(data: Octets, length: int, bits: int) -> Lanes:
    """The lanes of a packed vector. MalformedMessage for anything else."""
    lanes = np.zeros(length, lane_type(bits))
    accumulate(lanes, data, bits)
    reduce(lanes, bits)
    return lanes


def accumulate(total: Lanes, data: Octets, bits: int) -> None:
    """Add a packed vector to `total`, in place and unreduced. A malformed vector leaves `total` untouched."""
    if len(data) != packed_size(total.size, bits):
        raise MalformedMessage(f"a packed vector of {len(data)} bytes, not {packed_size(total.size, bits)}")
    packed = _words(data, bits)
    _check_padding(packed, total.size, bits)
    for field, start, part in _parts(total, packed.shape[1], bits):
        _add_field(part, packed, field, start, bits)


@cache
def _period(bits: int) -> tuple[int, int]:
    """The fields and the words of a column."""
    lane = 8 * lane_type(bits).itemsize
    return lane // gcd(bits, lane), bits // gcd(bits, lane)


def _words(wire: Octets, bits: int) -> Lanes:
    """The words of a packed vector, one row for each word of a column; a view."""
    return np.frombuffer(wire, lane_type(bits).newbyteorder("<")).reshape(_period(bits)[1], -1)


@cache
def _places(field: int, bits: int) -> tuple[tuple[int, int], ...]:
    """The one or two words that hold a field, and how far to the left in them (or to the right, if negative)."""
    lane = 8 * lane_type(bits).itemsize
    word, shift = divmod(field * bits, lane)
    first = (word, shift)
    return (first, (word + 1, shift - lane)) if shift + bits > lane else (first,)


def _parts(lanes: Lanes, columns: int, bits: int) -> Iterator[tuple[int, int, Lanes]]:
    """Field, first column and elements: all fields of a stretch of columns, then the next stretch."""
    step = _CHUNK_BYTES // lanes.itemsize
    for start in range(0, columns, step):
        for field in range(_period(bits)[0]):
            first, end = field * columns + start, (field + 1) * columns
            yield field, start, lanes[first : min(first + step, end)]


def _write(packed: Lanes, lanes: Lanes, bits: int) -> None:
    """Put every field in its place, among zeros."""
    for field, start, part in _parts(lanes, packed.shape[1], bits):
        for word, shift in _places(field, bits):
            packed[word, start : start + part.size] |= _shifted(part, shift)


def _add_field(part: Lanes, packed: Lanes, field: int, start: int, bits: int) -> None:
    """Add a field of the columns from `start` on. What lies above it in its word is a multiple of 2^bits."""
    for word, shift in _places(field, bits):
        part += _shifted(packed[word, start : start + part.size], -shift)


def _shifted(words: Lanes, by: int) -> Lanes:
    """To the left by so many bits, or to the right."""
    if by == 0:
        return words
    shift = np.left_shift if by > 0 else np.right_shift
    return shift(words, words.dtype.type(abs(by)))


def _check_padding(packed: Lanes, length: int, bits: int) -> None:
    columns = packed.shape[1]
    for field in range(length // columns, _period(bits)[0]):
        start = max(length - field * columns, 0)
        padding = np.zeros(columns - start, packed.dtype)
        _add_field(padding, packed, field, start, bits)
        reduce(padding, bits)
        if padding.any():
            raise MalformedMessage("a packed vector has set bits in its padding")
