"""privacy.secagg.ring: packing is exact, dense and has one form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import MalformedMessage
from privacy.secagg import ring
from tests.privacy.secagg.rounds import ring_vector


def _slow_pack(values: list[int], bits: int) -> bytes:
    """The specification, by one big Python integer."""
    whole = sum(value << index * bits for index, value in enumerate(values))
    return whole.to_bytes((len(values) * bits + 7) // 8, "little")


@given(st.integers(1, 64), st.data())
def test_packing_agrees_with_the_specification_and_comes_back(bits: int, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=200))
    lanes = ring.to_lanes(np.array(values, np.uint64), bits)
    packed = ring.pack(lanes, bits)
    assert packed == _slow_pack(values, bits)
    assert ring.unpack(packed, len(values), bits).tolist() == values


@pytest.mark.parametrize("bits", [1, 7, 8, 16, 20, 23, 31, 32, 33, 47, 62, 64])
@pytest.mark.parametrize("length", [ring._CHUNK - 1, ring._CHUNK, ring._CHUNK + 65])
def test_packing_is_exact_across_chunks(bits: int, length: int) -> None:
    lanes = ring.to_lanes(ring_vector("chunks", length, bits), bits)
    packed = ring.pack(lanes, bits)
    assert len(packed) == ring.packed_size(length, bits)
    assert np.array_equal(ring.unpack(packed, length, bits), lanes)


@given(st.integers(1, 64), st.integers(1, 40), st.binary(max_size=400))
def test_any_bytes_are_one_vector_or_malformed(bits: int, length: int, data: bytes) -> None:
    data = data[: ring.packed_size(length, bits)]
    try:
        lanes = ring.unpack(data, length, bits)
    except MalformedMessage:
        return
    assert ring.pack(lanes, bits) == data


def test_set_padding_bits_are_malformed() -> None:
    packed = bytearray(ring.pack(np.zeros(3, np.uint32), 5))
    assert len(packed) == 2
    packed[-1] |= 0x80
    with pytest.raises(MalformedMessage, match="padding"):
        ring.unpack(bytes(packed), 3, 5)


def test_a_malformed_vector_leaves_the_total_untouched() -> None:
    total = np.full(3, 7, np.uint32)
    for wrong in (b"", b"\xff\xff", b"\x01\x00\x00"):
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
    for bits in (20, 40):
        vector = np.arange(4, dtype=np.uint64)
        lanes = ring.to_lanes(vector, bits)
        lanes += 1
        assert vector.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="more than 20 bits"):
        ring.to_lanes(np.array([2**20], np.uint64), 20)
    with pytest.raises(ValueError, match="uint64"):
        ring.to_lanes(np.zeros(4, np.int64), 20)
