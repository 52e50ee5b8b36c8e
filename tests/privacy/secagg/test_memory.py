"""Masking and summing need buffers whose size depends neither on the vector nor on the cohort."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from privacy.secagg import masks, ring
from privacy.secagg.masks import Mask, apply
from privacy.wire import Held
from tests.privacy.secagg.rounds import ring_vector

LENGTH = 1_000_000
MIB = 1 << 20


def _peak(work: Callable[[], object]) -> int:
    """Bytes held at once by what the work allocates, its result included."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _masks(count: int) -> list[Mask]:
    return [Mask(index.to_bytes(32, "big"), is_added=index % 2 == 0) for index in range(count)]


@pytest.mark.parametrize(("length", "count"), [(LENGTH // 8, 20), (LENGTH, 20), (LENGTH, 100)])
def test_applying_masks_takes_one_buffer_whatever_the_length_and_the_cohort(length: int, count: int) -> None:
    lanes, made = np.zeros(length, np.uint32), _masks(count)
    assert _peak(lambda: apply(lanes, made)) < MIB // 2


@pytest.mark.parametrize("bits", [16, 20, 23, 26])
def test_a_client_holds_its_message_and_a_few_blocks(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    monkeypatch.setattr(masks, "SHORT", 0)
    vector = ring_vector("client", LENGTH, bits)

    def mask() -> bytes:
        wire = Held(ring.packed_size(LENGTH, bits))
        ring.write(masks.masked(vector, bits, _masks(10)), LENGTH, bits, wire.write)
        return wire.whole()

    size = ring.packed_size(LENGTH, bits)
    assert size <= _peak(mask) < size + 4 * MIB


@pytest.mark.parametrize("bits", [16, 20, 23, 26])
def test_a_server_adds_a_vector_in_a_bounded_buffer(bits: int) -> None:
    packed = ring.pack(ring.to_lanes(ring_vector("server", LENGTH, bits), bits), bits)
    total = np.zeros(LENGTH, ring.lane_type(bits))
    assert _peak(lambda: ring.accumulate(total, packed, bits)) < MIB // 2


def test_the_measure_sees_a_copy_of_the_vector() -> None:
    """The failing control."""
    lanes = np.zeros(LENGTH, np.uint32)
    assert _peak(lanes.copy) >= lanes.nbytes
