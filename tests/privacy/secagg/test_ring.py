"""privacy.secagg.ring: packing is exact, dense and has one form."""

from __future__ import annotations

from math import gcd

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from privacy.errors import MalformedMessage
from privacy.secagg import ring
from tests.privacy.secagg.rounds import ring_vector, unpack


def _slow_pack(values: list[int], bits: int) -> bytes:
    """The specification, by one big Python integer for each column."""
    word_bits = next(lane for lane in (16, 32, 64) if bits <= lane)
    shared = gcd(bits, word_bits)
    columns = -(-len(values) // (word_bits // shared))
    strings = [0] * columns
    for index, value in enumerate(values):
        field, column = divmod(index, columns)
        strings[column] |= value << field * bits
    words = [string >> row * word_bits for row in range(bits // shared) for string in strings]
    return b"".join((word % 2**word_bits).to_bytes(word_bits // 8, "little") for word in words)


@given(st.integers(1, 64), st.data())
def test_packing_agrees_with_the_specification_and_comes_back(bits: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=200))
    lanes = ring.to_lanes(np.array(values, np.uint64), bits)
    packed = ring.pack(lanes, bits)
    assert packed == _slow_pack(values, bits)
    assert len(packed) == ring.packed_size(len(values), bits)
    assert unpack(packed, len(values), bits).tolist() == values


@pytest.mark.parametrize("bits", [1, 7, 8, 16, 20, 23, 31, 32, 33, 47, 62, 64])
@pytest.mark.parametrize("off", [-1, 0, 33])
def test_packing_is_exact_across_stretches(monkeypatch: pytest.MonkeyPatch, bits: int, off: int) -> None:
    """Two stretches of columns and a bit, small ones so that the slow specification can follow."""
    monkeypatch.setattr(ring, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(ring, "_STRETCH", 64 * ring._period(bits)[1])
    fields = ring._period(bits)[0]
    length = max(1, 2 * fields * 64 // ring.lane_type(bits).itemsize + off)
    lanes = ring.to_lanes(ring_vector("stretches", length, bits), bits)
    packed = ring.pack(lanes, bits)
    assert packed == _slow_pack(lanes.tolist(), bits)
    assert np.array_equal(unpack(packed, length, bits), lanes)


@pytest.mark.parametrize("bits", [16, 20, 23, 26, 38])
def test_a_million_elements_come_back(bits: int) -> None:
    vector = ring_vector("million", 1_000_003, bits)
    packed = ring.pack(ring.to_lanes(vector, bits), bits)
    assert np.array_equal(unpack(packed, vector.size, bits), vector)


def test_a_parameter_costs_its_bits_on_the_wire() -> None:
    for bits, octets in ((16, 2.0), (20, 2.5), (23, 2.875), (26, 3.25)):
        assert ring.packed_size(1_000_000, bits) == octets * 1_000_000
    for bits in range(1, 65):
        wasted = 8 * ring.packed_size(1_000_003, bits) - 1_000_003 * bits
        assert 0 <= wasted < 64 * bits


@given(st.integers(1, 64), st.integers(1, 80), st.data())
def test_any_bytes_are_one_vector_or_malformed(bits: int, length: int, data: st.DataObject) -> None:
    size = ring.packed_size(length, bits)
    packed = data.draw(st.binary(min_size=size, max_size=size))
    try:
        lanes = unpack(packed, length, bits)
    except MalformedMessage:
        return
    assert lanes.size == length
    assert ring.pack(lanes, bits) == packed


@given(st.integers(1, 64), st.integers(1, 80), st.data())
def test_every_set_bit_of_padding_is_malformed(bits: int, length: int, data: st.DataObject) -> None:
    fields = ring._period(bits)[0]
    full = -(-length // fields) * fields
    assume(full > length)
    values = [0] * full
    values[data.draw(st.integers(length, full - 1))] = 1 << data.draw(st.integers(0, bits - 1))
    packed = ring.pack(ring.to_lanes(np.array(values, np.uint64), bits), bits)
    assert unpack(packed, full, bits).tolist() == values
    with pytest.raises(MalformedMessage, match="padding"):
        unpack(packed, length, bits)


def test_a_malformed_vector_leaves_the_total_untouched() -> None:
    total = np.full(3, 7, ring.lane_type(5))
    good = ring.pack(np.full(3, 1, np.uint16), 5)
    for wrong in (b"", good[:-1], good + b"\x00", bytes([*good[:-1], good[-1] | 0x80])):
        with pytest.raises(MalformedMessage):
            ring.accumulate(total, wrong, 5)
    assert total.tolist() == [7, 7, 7]


@given(st.sampled_from([3, 16, 20, 32, 33, 62]), st.integers(2, 9))
def test_wrapping_in_lanes_is_addition_modulo_the_ring(bits: int, count: int) -> None:
    vectors = [ring_vector(f"{bits}/{index}", 50, bits) for index in range(count)]
    total = np.zeros(50, ring.lane_type(bits))
    for vector in vectors:
        ring.accumulate(total, ring.pack(ring.to_lanes(vector, bits), bits), bits)
    ring.reduce(total, bits)
    columns = zip(*vectors, strict=True)
    assert total.tolist() == [sum(map(int, column)) % 2**bits for column in columns]


def test_lanes_are_a_copy_of_a_checked_vector() -> None:
    for bits in (10, 20, 40):
        vector = np.arange(4, dtype=np.uint64)
        lanes = ring.to_lanes(vector, bits)
        lanes += 1
        assert vector.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="more than 20 bits"):
        ring.to_lanes(np.array([2**20], np.uint64), 20)
    with pytest.raises(ValueError, match="uint64"):
        ring.to_lanes(np.zeros(4, np.int64), 20)
