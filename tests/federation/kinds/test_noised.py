"""A vector on the grid with its noise, in blocks: the same numbers as of the whole at once, in bounded memory."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from torch import Tensor

from federation.kinds.base import grid, on_grid
from federation.kinds.noised import BLOCK, noised, rounded
from privacy.mechanism.encoding import Codec, EncodingOverflow
from privacy.mechanism.gaussian import GaussianMechanism
from privacy.mechanism.noise import VARIANCE, Stream
from privacy.secagg.ring import lane_type


def of_length(length: int, multiplier: float) -> GaussianMechanism:
    return GaussianMechanism(1.0, multiplier, 1.0, 2, length)


def made(length: int, norm: float) -> Tensor:
    vector = torch.rand(length, generator=torch.Generator().manual_seed(length), dtype=torch.float64) - 0.5
    return vector / torch.linalg.vector_norm(vector) * norm


@pytest.mark.parametrize("multiplier", [1.0, 40.0], ids=["usual", "wide"])
@pytest.mark.parametrize("length", [1, 31, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5000])
@pytest.mark.parametrize("norm", [0.4, 1.0, 7.0], ids=["inside", "at the edge", "outside"])
def test_a_vector_in_blocks_is_the_same_as_all_at_once(length: int, multiplier: float, norm: float) -> None:
    mechanism, vector = of_length(length, multiplier), made(length, norm)
    assert (mechanism.width > 1) is (multiplier > 1 and length > 1000)
    codec = grid(mechanism, 1.0, 4)
    streams = [Stream(bytes([place]) * 32) for place in (1, 2, 1, 2)]
    parts = VARIANCE // 4, 3 * VARIANCE // 4
    whole = on_grid(codec, vector[None], [1.0])[0]
    for stream, part in zip(streams[:2], parts, strict=True):
        whole = whole + mechanism.noise(stream, part)
    blocks = [mechanism.noise_blocks(*each) for each in zip(streams[2:], parts, strict=True)]
    found = noised(codec, vector, 1.0, blocks)
    assert found.dtype == lane_type(codec.ring_bits)
    assert np.array_equal(found, codec.to_ring(whole))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e30])
def test_what_no_encoder_can_carry_is_moved_into_box_and_ball_in_whatever_block_it_is(wrong: float) -> None:
    length = 2 * BLOCK + 7
    mechanism, vector = of_length(length, 1.0), made(length, 0.5)
    codec = grid(mechanism, 1.0, 4)
    for place in (0, BLOCK, length - 1):
        bad = vector.clone()
        bad[place] = wrong
        assert np.array_equal(noised(codec, bad, 1.0, []), codec.to_ring(on_grid(codec, bad[None], [1.0])[0]))


@pytest.mark.parametrize("weight", [1, 0.25])
def test_coins_fall_as_for_the_whole_vector(weight: float) -> None:
    codec, length = Codec(2.0**-19, 1 << 23, 0, 4), BLOCK + 999
    delta = made(length, 30.0)
    words = Stream(bytes(32)).words(length)
    whole = codec.encode_rows((delta * weight)[None], words[None])[0]
    found = rounded(codec, delta, weight, Stream(bytes(32)).words)
    assert np.array_equal(found, codec.to_ring(whole))
    delta[-1] = 1e9
    with pytest.raises(EncodingOverflow):
        rounded(codec, delta, weight, Stream(bytes(32)).words)


def test_beside_what_comes_in_and_what_goes_out_a_few_blocks_are_held() -> None:
    """Under a third of one copy in float64; the control holds several."""
    length = 2_000_000
    mechanism, vector = of_length(length, 2.0), made(length, 1.0)
    codec = grid(mechanism, 1.0, 4)
    assert mechanism.width > 1

    def peak(blockwise: bool) -> int:
        tracemalloc.start()
        if blockwise:
            noised(codec, vector, 1.0, [mechanism.noise_blocks(Stream(bytes(32)))])
        else:
            codec.to_ring(on_grid(codec, vector[None], [2.0])[0] + mechanism.noise(Stream(bytes(32))))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(blockwise=True)  # tables
    assert peak(blockwise=True) < 4 * length + 6 * 2**20
    assert peak(blockwise=False) > 16 * length
