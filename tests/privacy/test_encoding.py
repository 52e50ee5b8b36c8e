"""Encode, sum over the largest cohort, decode: within rounding, and never around the ring."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy.encoding import Codec, EncodingOverflow
from privacy.errors import UnsafeParameters
from privacy.noise import MAX_DRAW

CODECS = st.builds(
    lambda step, limit, cohort, noisy: Codec(step, limit, cohort * MAX_DRAW * noisy, cohort),
    st.floats(1e-9, 10),
    st.integers(1, 2**40),
    st.integers(1, 1000),
    st.booleans(),
)


@given(CODECS, st.lists(st.floats(-1, 1), min_size=1, max_size=8), st.data())
def test_the_sum_of_a_cohort_decodes_within_rounding(
    codec: Codec, shape: list[float], data: st.DataObject
) -> None:
    sites = data.draw(st.integers(1, min(codec.cohort, 10)))
    inputs = [
        torch.tensor(shape, dtype=torch.float64) * codec.step * (codec.limit / (site + 1))
        for site in range(sites)
    ]
    total = np.zeros(len(shape), np.uint64)
    for x in inputs:
        total = (total + codec.to_ring(codec.encode(x))) & np.uint64(2**codec.ring_bits - 1)
    decoded = codec.decode(codec.from_ring(total))
    bound = codec.step * sites * (0.5 + 1e-9 + codec.limit * 1e-15)
    assert float((decoded - torch.stack(inputs).sum(dim=0)).abs().max()) <= bound


@given(CODECS, st.sampled_from([-1, 1]))
def test_the_largest_sum_with_the_largest_noise_does_not_wrap(codec: Codec, sign: int) -> None:
    largest = codec.encode(torch.tensor([sign * codec.limit * codec.step], dtype=torch.float64))
    assert list(largest) == [sign * codec.limit]
    residues = codec.to_ring(largest).astype(object) * codec.cohort + codec.to_ring(
        np.array([sign * codec.headroom], np.int64)
    ).astype(object)
    total = codec.from_ring(np.array([int(residues[0]) % 2**codec.ring_bits], np.uint64))
    assert list(total) == [sign * (codec.cohort * codec.limit + codec.headroom)]


@given(CODECS)
def test_the_ring_is_no_wider_than_it_needs(codec: Codec) -> None:
    largest = codec.cohort * codec.limit + codec.headroom
    assert 2 ** (codec.ring_bits - 2) <= largest < 2 ** (codec.ring_bits - 1)


@given(st.integers(1, 61), st.data())
def test_the_ring_and_back_is_the_identity_on_its_range(bits: int, data: st.DataObject) -> None:
    codec = Codec(1.0, 1, 2**bits - 2, 1)
    assert codec.ring_bits == bits + 1
    values = data.draw(st.lists(st.integers(-(2**bits), 2**bits - 1), max_size=5))
    integers = np.array(values, np.int64)
    assert np.array_equal(codec.from_ring(codec.to_ring(integers)), integers)


def test_halves_round_to_even() -> None:
    codec = Codec(0.5, 10, 0, 1)
    assert list(codec.encode(torch.tensor([0.25, 0.75, -0.25, -0.75, 1.25]))) == [0, 2, 0, -2, 2]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10.6, -10.6])
def test_what_does_not_fit_is_refused_without_showing_it(value: float) -> None:
    with pytest.raises(EncodingOverflow) as caught:
        Codec(1.0, 10, 0, 1).encode(torch.tensor([0.0, value]))
    assert "10.6" not in str(caught.value)
    assert "nan" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        (0.0, 1, 0, 1), (-1.0, 1, 0, 1), (math.nan, 1, 0, 1), (math.inf, 1, 0, 1),
        (1.0, 0, 0, 1), (1.0, 2**53, 0, 1), (1.0, 1, -1, 1), (1.0, 1, 0, 0), (1.0, 2**50, 0, 2**12),
    ],
)  # fmt: skip
def test_a_ring_too_wide_or_a_senseless_codec_is_refused(arguments: tuple[float, int, int, int]) -> None:
    with pytest.raises(UnsafeParameters):
        Codec(*arguments)
