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

from collections.abc import Callable, Iterator
from functools import cache
from math import gcd
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.errors import MalformedMessage
from privacy.wire import Content, Held, Octets, Stored

RingVector = NDArray[np.unsignedinteger]
Lanes = NDArray[np.unsignedinteger]


class Vector(Protocol):
    """Ring elements in blocks, as of a file: an array, or what gives its slices as arrays."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,)."""
        ...

    def __getitem__(self, span: slice, /) -> RingVector:
        """The elements of a slice, in the dtypes of a ring vector."""
        ...


# Handled at a time: enough that a call to numpy costs little beside its work, little enough that it is still in
# the cache at the next call.
_CHUNK_BYTES = 1 << 18
_STRETCH = 1 << 21  # of all words of some columns, while these are written


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
    wire = Held(packed_size(lanes.size, bits))
    write(lambda first, end: lanes[first:end], lanes.size, bits, wire.write)
    return wire.whole()


def write(
    part: Callable[[int, int], Lanes], length: int, bits: int, put: Callable[[int, Octets], object]
) -> None:
    """The wire form of `length` reduced lanes, in blocks: `put` gets each with its place.

    `part` gives the lanes from one element to another. Each element is asked for once.
    """
    (fields, words), lane = _period(bits), lane_type(bits)
    columns, step = -(-length // fields), max(1, _STRETCH // (words * lane.itemsize))
    for start in range(0, columns, step):
        packed = np.zeros((words, min(step, columns - start)), lane.newbyteorder("<"))
        for field, first, end in _spans(length, columns, start, packed.shape[1], fields):
            lanes = part(first, end)
            for word, shift in _places(field, bits):
                packed[word, : lanes.size] |= _shifted(lanes, shift)
        for word, row in enumerate(packed):
            put((word * columns + start) * lane.itemsize, row.data.cast("B"))


def unpack(data: Octets, length: int, bits: int) -> Lanes:
    """The lanes of a packed vector. MalformedMessage for anything else."""
    lanes = np.zeros(length, lane_type(bits))
    accumulate(lanes, data, bits)
    reduce(lanes, bits)
    return lanes


def accumulate(total: Lanes, data: Octets, bits: int) -> None:
    """Add a packed vector to `total`, in place and unreduced. A malformed vector leaves `total` untouched."""
    _check_size(data, total.size, bits)
    packed = _words(data, bits)
    _check_padding(lambda word, start: packed[word, start:], total.size, bits)
    columns, step = packed.shape[1], _CHUNK_BYTES // total.itemsize
    for start in range(0, columns, step):
        for field, first, end in _spans(total.size, columns, start, step, _period(bits)[0]):
            _add_field(total[first:end], lambda word, at: packed[word, at:], field, start, bits)


def check_stored(data: Stored, length: int, bits: int) -> None:
    """MalformedMessage unless this has the length and the padding of a packed vector."""
    _check_size(data, length, bits)
    _check_padding(lambda word, start: _row(data, length, bits, word, start)[1], length, bits)


def accumulate_stored(total: Lanes, data: Stored, bits: int, seen: Callable[[Octets], object]) -> None:
    """As `accumulate`, of a vector that passed `check_stored`: all is read in order, and shown to `seen`.

    If anything is raised, or `seen` is shown other bytes than were checked, `total` is spoiled.
    """
    fields, words = _period(bits)
    columns, step = -(-total.size // fields), _CHUNK_BYTES // total.itemsize
    for word in range(words):
        for start in range(0, columns, step):
            octets, row = _row(data, total.size, bits, word, start, step)
            seen(octets)
            for field, shift in _within(word, bits):
                first, end = field * columns + start, min((field + 1) * columns, total.size)
                part = total[first : min(first + row.size, end)]
                part += _shifted(row[: part.size], -shift)


def _row(
    data: Stored, length: int, bits: int, word: int, start: int, most: int | None = None
) -> tuple[Octets, Lanes]:
    """A row of words from a column on, `most` at most: as bytes, and as words."""
    lane = lane_type(bits).newbyteorder("<")
    columns = -(-length // _period(bits)[0])
    width = columns - start if most is None else min(most, columns - start)
    octets = data.read((word * columns + start) * lane.itemsize, width * lane.itemsize)
    return octets, np.frombuffer(octets, lane)


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


@cache
def _within(word: int, bits: int) -> tuple[tuple[int, int], ...]:
    """The fields that a word holds any part of, and how far to the left they are in it."""
    return tuple(
        (field, shift)
        for field in range(_period(bits)[0])
        for place, shift in _places(field, bits)
        if place == word
    )


def _spans(length: int, columns: int, start: int, width: int, fields: int) -> Iterator[tuple[int, int, int]]:
    """Field, first element and end, of a stretch of columns: the fields in which it has elements."""
    for field in range(fields):
        first = field * columns + start
        end = min(first + width, (field + 1) * columns, length)
        if first < end:
            yield field, first, end


def _add_field(part: Lanes, row: Callable[[int, int], Lanes], field: int, start: int, bits: int) -> None:
    """Add a field of the columns from `start` on. What lies above it in its word is a multiple of 2^bits."""
    for word, shift in _places(field, bits):
        part += _shifted(row(word, start)[: part.size], -shift)


def _shifted(words: Lanes, by: int) -> Lanes:
    """To the left by so many bits, or to the right."""
    if by == 0:
        return words
    shift = np.left_shift if by > 0 else np.right_shift
    return shift(words, words.dtype.type(abs(by)))


def _check_size(data: Content, length: int, bits: int) -> None:
    if len(data) != packed_size(length, bits):
        raise MalformedMessage(f"a packed vector of {len(data)} bytes, not {packed_size(length, bits)}")


def _check_padding(row: Callable[[int, int], Lanes], length: int, bits: int) -> None:
    """MalformedMessage if an element past the length is not zero. `row` gives the words of a row, from a column."""
    fields, _ = _period(bits)
    columns = -(-length // fields)
    for field in range(length // columns, fields):
        start = max(length - field * columns, 0)
        padding = np.zeros(columns - start, lane_type(bits))
        _add_field(padding, row, field, start, bits)
        reduce(padding, bits)
        if padding.any():
            raise MalformedMessage("a packed vector has set bits in its padding")
