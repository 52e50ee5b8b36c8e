"""Vectors of integers modulo 2^b: native wrap in wide lanes, b-bit fields on the wire.

2^b divides 2^32 and 2^64, so additions may wrap in whole machine words and be reduced once, at the end. On
the wire, element i occupies bits i*b to (i+1)*b - 1 of one little-endian bit string, padded with zero bits to
a whole byte: ceil(length * b / 8) bytes, one encoding per vector. See docs/protocol.md, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MalformedMessage

RingVector = NDArray[np.uint64]
Lanes = NDArray[np.uint32] | NDArray[np.uint64]

# Elements handled at a time: a multiple of 64, so that every chunk starts on a byte. Large enough that a call
# to numpy costs nothing beside its work, small enough to bound the buffers (a few MB) at any length.
_CHUNK = 1 << 17


def to_lanes(vector: RingVector, bits: int) -> Lanes:
    """A fresh copy in the narrowest lanes. ValueError unless every element lies in [0, 2^bits)."""
    if vector.dtype != np.uint64 or vector.ndim != 1:
        raise ValueError("a ring vector is one-dimensional, of dtype uint64")
    if vector.size and int(vector.max()) >> bits:
        raise ValueError(f"a ring vector holds an element of more than {bits} bits")
    return vector.astype(np.uint32) if bits <= 32 else vector.copy()


def lane_type(bits: int) -> np.dtype[np.uint32] | np.dtype[np.uint64]:
    """The machine word that holds an element: 32 bits if they suffice, else 64."""
    if bits <= 32:
        return np.dtype(np.uint32)
    return np.dtype(np.uint64)


def reduce(lanes: Lanes, bits: int) -> None:
    """Modulo 2^bits, in place."""
    np.bitwise_and(lanes, lanes.dtype.type((1 << bits) - 1), out=lanes)


def packed_size(length: int, bits: int) -> int:
    """Bytes of a packed vector."""
    return (length * bits + 7) // 8


def pack(lanes: Lanes, bits: int) -> bytes:
    """The wire form of reduced lanes."""
    if bits in (8, 16, 32, 64):
        return lanes.astype(f"<u{bits // 8}").tobytes()
    out = bytearray(packed_size(lanes.size, bits))
    for start in range(0, lanes.size, _CHUNK):
        part = lanes[start : start + _CHUNK]
        first, size = start * bits // 8, packed_size(part.size, bits)
        out[first : first + size] = _join(part, bits).view(np.uint8)[:size].tobytes()
    return bytes(out)


def unpack(data: bytes, length: int, bits: int) -> Lanes:
    """The vector of wire bytes; MalformedMessage unless they are exactly what `pack` makes."""
    lanes = np.zeros(length, lane_type(bits))
    accumulate(lanes, data, bits)
    return lanes


def accumulate(total: Lanes, data: bytes, bits: int) -> None:
    """Add a packed vector to `total`, in place and unreduced. A malformed vector leaves `total` untouched."""
    _check(data, total.size, bits)
    for start, part in _unpacked(data, total.size, bits):
        window = total[start : start + part.size]
        np.add(window, part, out=window, casting="unsafe")


def _check(data: bytes, length: int, bits: int) -> None:
    if len(data) != packed_size(length, bits):
        raise MalformedMessage(f"a packed vector of {len(data)} bytes, {packed_size(length, bits)} are due")
    used = length * bits % 8
    if used and data[-1] >> used:
        raise MalformedMessage("a packed vector has set bits in its padding")


def _unpacked(data: bytes, length: int, bits: int) -> Iterator[tuple[int, NDArray[np.unsignedinteger]]]:
    if bits in (8, 16, 32, 64):
        yield 0, np.frombuffer(data, f"<u{bits // 8}")
        return
    view = memoryview(data)
    for start in range(0, length, _CHUNK):
        size = min(_CHUNK, length - start)
        first = start * bits // 8
        yield start, _split(view[first : first + packed_size(size, bits)], size, bits)


def _period(bits: int) -> tuple[int, int]:
    """The smallest number of fields that fill whole 64-bit words, and the number of these words."""
    shared = gcd(bits, 64)
    return 64 // shared, bits // shared


def _join(part: Lanes, bits: int) -> NDArray[np.uint64]:
    """Fields into words, a column at a time: field j of every period lies at the same place in it."""
    fields, words = _period(bits)
    rows = -(-part.size // fields)
    columns = np.zeros((fields, rows), np.uint64)
    whole = part.size // fields
    columns[:, :whole] = part[: whole * fields].reshape(whole, fields).T
    columns[: part.size - whole * fields, whole:] = part[whole * fields :, None]
    out, shifted = np.zeros((words, rows), "<u8"), np.empty(rows, np.uint64)
    for index in range(fields):
        word, shift = divmod(index * bits, 64)
        out[word] |= np.left_shift(columns[index], np.uint64(shift), out=shifted)
        if shift + bits > 64:
            out[word + 1] |= np.right_shift(columns[index], np.uint64(64 - shift), out=shifted)
    return np.ascontiguousarray(out.T).reshape(-1)


def _split(part: memoryview, size: int, bits: int) -> NDArray[np.uint64]:
    """Words into fields: the inverse of `_join`."""
    fields, words = _period(bits)
    rows = -(-size // fields)
    padded = np.zeros(rows * words * 8, np.uint8)
    padded[: len(part)] = np.frombuffer(part, np.uint8)
    columns = np.ascontiguousarray(padded.view("<u8").reshape(rows, words).T)
    out, shifted = np.empty((fields, rows), np.uint64), np.empty(rows, np.uint64)
    for index in range(fields):
        word, shift = divmod(index * bits, 64)
        np.right_shift(columns[word], np.uint64(shift), out=out[index])
        if shift + bits > 64:
            out[index] |= np.left_shift(columns[word + 1], np.uint64(64 - shift), out=shifted)
    out &= np.uint64((1 << bits) - 1)
    return out.T.reshape(-1)[:size]
