"""privacy.secagg.masks: masks cancel for every set, and hide whatever they are added to."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.secagg import ring
from privacy.secagg.keys import mask_half
from privacy.secagg.masks import CHUNK_BYTES, Keystream, Mask, apply, keystream, pair_mask, self_mask
from privacy.secagg.statements import commit
from tests.privacy.secagg.rounds import entropy
from tests.privacy.secagg.statistics import ALARM, chi_square_p_value

TRANSCRIPT = bytes(32)


def _half(slot: int, peer: int) -> bytes:
    return mask_half(bytes([slot]) * 32, bytes(32), slot, peer)


def _pair(slot: int, peer: int, transcript: bytes = TRANSCRIPT) -> Mask:
    return pair_mask(_half(slot, peer), _half(peer, slot), transcript, slot, peer)


@pytest.mark.parametrize("bits", [1, 20, 32, 33, 62])
def test_pairwise_masks_cancel_in_the_sum_over_every_set(bits: int) -> None:
    for size in range(2, 7):
        for members in combinations(range(6), size):
            total = np.zeros(40, ring.lane_type(bits))
            for slot in members:
                apply(total, [_pair(slot, peer) for peer in members if peer != slot])
            ring.reduce(total, bits)
            assert not total.any()


def test_both_ends_hold_one_key_and_opposite_signs() -> None:
    for slot, peer in combinations(range(6), 2):
        assert _pair(slot, peer) == _pair(peer, slot).inverse()
        assert _pair(slot, peer).is_added


def test_no_two_masks_of_a_round_share_a_key_and_none_outlives_the_transcript() -> None:
    keys = [
        mask.key
        for transcript in (bytes(32), b"t" * 32)
        for mask in [
            *(self_mask(bytes([9]) * 32, transcript, slot) for slot in range(6)),
            *(_pair(slot, peer, transcript) for slot, peer in combinations(range(6), 2)),
        ]
    ]
    assert len(set(keys)) == len(keys) == 42


@given(st.integers(1, 3), st.sampled_from([20, 40]), st.integers(-3, 3))
def test_windows_do_not_show_in_the_result(windows: int, bits: int, off: int) -> None:
    kind = ring.lane_type(bits)
    length = windows * CHUNK_BYTES // kind.itemsize + off
    masks = [_pair(0, 1), _pair(2, 1), self_mask(bytes(32), TRANSCRIPT, 0)]
    whole, head = np.zeros(length, kind), np.zeros(100, kind)
    apply(whole, masks)
    apply(head, masks)
    assert np.array_equal(whole[:100], head)
    apply(whole, [mask.inverse() for mask in masks])
    assert not whole.any()


@pytest.mark.parametrize("bits", [8, 21, 40])
def test_one_mask_makes_a_constant_vector_uniform(bits: int) -> None:
    """Chi-square over the lowest and the highest eight bits; keys are fixed, false alarms one in a million."""
    lanes = np.full(200_000, 5, ring.lane_type(bits))
    assert chi_square_p_value(lanes) < ALARM  # the failing control: without a mask the test must object
    apply(lanes, [_pair(0, 1)])
    ring.reduce(lanes, bits)
    assert chi_square_p_value(lanes) > ALARM
    assert chi_square_p_value(lanes >> lanes.dtype.type(bits - 8)) > ALARM


def test_the_uniformity_test_objects_to_a_hidden_bias() -> None:
    """A second control: one element in fifty unmasked is already too much."""
    lanes = np.zeros(200_000, np.uint32)
    apply(lanes, [_pair(0, 1)])
    lanes[::50] = 0
    assert chi_square_p_value(lanes) < ALARM


def test_masks_of_different_transcripts_do_not_cancel_but_leave_uniform_noise() -> None:
    total = np.zeros(200_000, np.uint32)
    apply(total, [_pair(0, 1, bytes(32)), _pair(1, 0, b"t" * 32)])
    assert chi_square_p_value(total) > ALARM
    apply(total, [_pair(0, 1, bytes(32)).inverse(), _pair(1, 0, b"t" * 32).inverse()])
    assert not total.any()


def test_a_commitment_binds_secret_context_slot_and_use() -> None:
    seed = entropy("seed")(32)
    commitments = {
        commit(seed, bytes(32), 0, "m"),
        commit(seed, bytes(32), 1, "m"),
        commit(seed, bytes(32), 0, "s"),
        commit(seed, b"c" * 32, 0, "m"),
        commit(bytes(32), bytes(32), 0, "m"),
    }
    assert len(commitments) == 5


@pytest.mark.parametrize("size", [0, 1, 48, CHUNK_BYTES, 2 * CHUNK_BYTES + 5])
def test_the_first_bytes_of_a_keystream_do_not_depend_on_how_many_are_taken(size: int) -> None:
    key = bytes(range(32))
    assert len(keystream(key, size)) == size
    assert keystream(key, 3 * CHUNK_BYTES)[:size] == keystream(key, size)
    buffer = bytearray(CHUNK_BYTES + 15)
    Keystream(key).fill(buffer, 64)
    assert buffer[: min(size, 64)] == keystream(key, min(size, 64))


def test_a_mask_shows_no_key() -> None:
    assert repr(_pair(0, 1)) == "Mask(is_added=True)"
