"""Encode, sum over the largest cohort, decode: within rounding, and never around the ring."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import UnsafeParameters
from privacy.mechanism.encoding import Codec, EncodingOverflow
from privacy.mechanism.noise import MAX_DRAW, Stream
from privacy.secagg import ring

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


@pytest.mark.parametrize(("cohort", "bits"), [(10, 20), (100, 23), (1000, 26)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_whole_cohort_of_largest_inputs_adds_up_through_the_wire(cohort: int, bits: int, sign: int) -> None:
    codec = Codec(2.0**-15, 2**15, 0, cohort)
    assert codec.ring_bits == bits
    largest = codec.encode(torch.full((70,), float(sign)), Stream(bytes(32)))
    packed = ring.pack(ring.to_lanes(codec.to_ring(largest), bits), bits)
    total = np.zeros(70, ring.lane_type(bits))
    for _ in range(cohort):
        ring.accumulate(total, packed, bits)
    ring.reduce(total, bits)
    assert codec.decode(codec.from_ring(total.astype(np.uint64))).tolist() == [sign * float(cohort)] * 70


@given(CODECS, st.lists(st.floats(-1, 1), min_size=1, max_size=8), st.binary(min_size=32, max_size=32))
def test_coins_choose_a_neighbor_and_never_leave_the_limit(
    codec: Codec, shape: list[float], key: bytes
) -> None:
    x = torch.tensor(shape, dtype=torch.float64) * codec.limit * codec.step
    exact = (x / codec.step).numpy()
    rounded = codec.encode(x, Stream(key))
    assert np.all(np.abs(rounded) <= codec.limit)
    assert np.all((rounded == np.floor(exact)) | (rounded == np.ceil(exact)) | (np.abs(exact) > codec.limit))


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=9),
    st.binary(min_size=32, max_size=32),
)
def test_the_same_coins_part_two_vectors_by_less_than_one_step_more(
    pairs: list[tuple[float, float]], key: bytes
) -> None:
    """What the sensitivity of a mechanism on the grid relies on."""
    codec = Codec(1.0, 100, 0, 1)
    left, right = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    apart = np.abs(codec.encode(left, Stream(key)) - codec.encode(right, Stream(key)))
    assert np.all(apart < (left - right).abs().numpy() + 1)


@pytest.mark.parametrize("value", [0.0, 0.25, -0.25, 3.5, -7.9, 1e-3, -1e-300, 9.999])
def test_rounding_by_coins_has_no_bias(value: float) -> None:
    """Within five standard errors of 200,000 coins: a false alarm once in a million keys; the key is fixed."""
    size = 200_000
    rounded = Codec(1.0, 10, 0, 1).encode(torch.full((size,), value, dtype=torch.float64), Stream(b"k" * 32))
    fraction = value - math.floor(value)
    error = 5 * math.sqrt(fraction * (1 - fraction) / size)
    assert abs(float(rounded.mean()) - value) <= error + 1e-12


def test_rounding_to_the_nearest_has_a_bias_that_this_test_would_see() -> None:
    """The failing control of the test above."""
    nearest = Codec(1.0, 10, 0, 1).encode(torch.full((200_000,), 0.25))
    assert abs(float(nearest.mean()) - 0.25) > 5 * math.sqrt(0.25 * 0.75 / 200_000)


def test_without_coins_nothing_is_drawn_and_with_them_each_vector_draws_its_own() -> None:
    codec, coins = Codec(1.0, 10, 0, 1), Stream(bytes(32))
    halves = torch.full((64,), 0.5)
    assert not codec.encode(halves).any()
    assert not np.array_equal(codec.encode(halves, coins), codec.encode(halves, coins))


@pytest.mark.parametrize("value", [math.nan, math.inf, 10.6, -10.6])
def test_coins_change_nothing_about_what_is_refused(value: float) -> None:
    with pytest.raises(EncodingOverflow):
        Codec(1.0, 10, 0, 1).encode(torch.tensor([value]), Stream(bytes(32)))
    assert Codec(1.0, 10, 0, 1).encode(torch.tensor([10.4, -10.4]), Stream(bytes(32))).tolist() == [10, -10]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=["64", "32", "b16"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (1, 2**14 + 1), (5, 8000), (0, 4)])
def test_a_matrix_is_rounded_as_if_in_one_piece(shape: tuple[int, int], dtype: torch.dtype) -> None:
    codec = Codec(0.37, 1000, 0, 1)
    rows = (torch.linspace(-300, 300, shape[0] * shape[1], dtype=torch.float64).reshape(shape)).to(dtype)
    exact = rows.to(torch.float64).numpy() / codec.step
    words = Stream(bytes(32)).words(exact.size).reshape(shape)
    fractions = (words >> np.uint64(11)) * 2.0**-53
    assert np.array_equal(codec.encode_rows(rows), np.rint(exact).astype(np.int64))
    by_coins = (np.floor(exact) + (fractions < exact - np.floor(exact))).astype(np.int64)
    assert np.array_equal(codec.encode_rows(rows, words), by_coins)
    turned = rows.t().contiguous().t()  # in another order in memory
    assert np.array_equal(codec.encode_rows(turned, words), by_coins)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10.6, -10.6])
@pytest.mark.parametrize("row", [0, 2, 4])
def test_of_many_vectors_the_first_that_is_refused_is_named(value: float, row: int) -> None:
    rows = torch.zeros(5, 9000)
    rows[row:, 4321] = value
    with pytest.raises(EncodingOverflow) as caught:
        Codec(1.0, 10, 0, 1).encode_rows(rows)
    assert caught.value.row == row


@pytest.mark.parametrize("scale", [1.0, 3.0, 3.33], ids=["inside", "near the limit", "brought back to it"])
@pytest.mark.parametrize("limit", [1000, 2**51], ids=["small", "too large for sums of floats"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=["64", "32", "b16"])
@pytest.mark.parametrize("shape", [(1, 1), (700, 7), (1, 2**14 + 1), (5, 8000), (0, 4), (9, 2**15)])
def test_a_sum_is_that_of_the_rows(
    shape: tuple[int, int], dtype: torch.dtype, limit: int, scale: float
) -> None:
    codec = Codec(0.3, limit, 0, 800)
    rows = (torch.linspace(-90, 90, shape[0] * shape[1], dtype=torch.float64).reshape(shape) * scale).to(
        dtype
    )
    words = Stream(bytes(32)).words(rows.numel()).reshape(shape)
    for coins in (None, words):
        assert np.array_equal(codec.encode_sum(rows, coins), codec.encode_rows(rows, coins).sum(axis=0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10.6, -10.6])
@pytest.mark.parametrize("row", [0, 2, 4])
def test_of_a_sum_the_first_vector_that_is_refused_is_named(value: float, row: int) -> None:
    rows = torch.zeros(5, 9000)
    rows[row:, 4321] = value
    with pytest.raises(EncodingOverflow) as caught:
        Codec(1.0, 10, 0, 5).encode_sum(rows)
    assert caught.value.row == row
