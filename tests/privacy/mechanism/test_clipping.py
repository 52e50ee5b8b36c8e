"""Every row ends within the bound, whatever it was; one row more moves a sum by no more than the bound."""

from __future__ import annotations

import math
from itertools import chain
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import UnsafeParameters
from privacy.mechanism import clipping
from privacy.mechanism.clipping import clip_factors, clip_rows, into_box, row_lengths, sum_of_squares

ANY = st.floats(width=32)
MATRICES = st.integers(1, 5).flatmap(
    lambda d: st.lists(st.lists(ANY, min_size=d, max_size=d), min_size=1, max_size=6)
)
NORMS = st.floats(1e-3, 1e3)


@given(MATRICES, NORMS, st.sampled_from([torch.float32, torch.float64]))
def test_every_row_is_finite_and_within_the_norm(
    rows: list[list[float]], norm: float, dtype: torch.dtype
) -> None:
    clipped = clip_rows(torch.tensor(rows, dtype=dtype), norm)
    assert clipped.dtype == dtype
    assert bool(torch.isfinite(clipped).all())
    assert bool((clipped.double().norm(dim=1) <= norm * (1 + 1e-12)).all())


@given(MATRICES, NORMS)
def test_one_row_less_moves_the_sum_by_at_most_the_norm(rows: list[list[float]], norm: float) -> None:
    matrix = torch.tensor(rows, dtype=torch.float64)
    difference = clip_rows(matrix, norm).sum(dim=0) - clip_rows(matrix[1:], norm).sum(dim=0)
    assert float(difference.norm()) <= norm * (1 + 1e-6)


@given(MATRICES, NORMS, st.sampled_from([torch.float32, torch.float64]))
def test_clipping_in_place_gives_the_same_bits_and_holds_no_second_vector(
    rows: list[list[float]], norm: float, dtype: torch.dtype
) -> None:
    given_, kept = torch.tensor(rows, dtype=dtype), torch.tensor(rows, dtype=dtype)
    clipped = clip_rows(given_, norm, in_place=True)
    assert clipped.data_ptr() == given_.data_ptr()
    assert clipped.numpy().tobytes() == clip_rows(kept, norm).numpy().tobytes()


def test_short_rows_stay_and_long_rows_keep_their_direction() -> None:
    rows = torch.tensor([[0.3, 0.4], [30.0, 40.0], [0.0, 0.0]])
    torch.testing.assert_close(clip_rows(rows, 1.0), torch.tensor([[0.3, 0.4], [0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_contributes_zero_and_harms_no_other(poison: float) -> None:
    rows = torch.tensor([[1.0, poison], [0.5, 0.0]])
    assert torch.equal(clip_rows(rows, 1.0), torch.tensor([[0.0, 0.0], [0.5, 0.0]]))


EXTREMES = [0.0, 5e-324, 1e-310, 1e-300, 1e-160, 1e-45, 1e-38, 1e-25, 1e-12, 1.0, 1e12, 1e38, 1e150, 1e300]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", [1e-30, 1e-19, 1e-6, 1.0, 1e6])
def test_the_bound_holds_at_both_ends_of_a_float(dtype: torch.dtype, norm: float) -> None:
    """In float32 a factor below 1e-38 is off by up to all of itself, and the square of 1e-25 is 0."""
    rows = [[a, -b, a] for a in EXTREMES for b in EXTREMES]
    matrix = torch.tensor(rows, dtype=torch.float64).to(dtype)
    clipped = clip_rows(matrix, norm)
    assert bool(torch.isfinite(clipped).all())
    for before, after in zip(matrix.tolist(), clipped.tolist(), strict=True):
        assert math.hypot(*after) <= norm * (1 + 1e-12)
        if math.hypot(*before) <= norm * (1 - 1e-12):
            assert after == before


def test_the_factors_that_a_route_uses_keep_the_bound_too() -> None:
    """A length of 1e38 under a norm of 1e-6: the nearest float32 to the factor would make it a fifth too long."""
    lengths = row_lengths(torch.tensor([[1e38], [3e37], [1e-25], [0.0]]))
    factors = clip_factors(lengths, 1e-6, torch.float32)
    assert bool((factors.double() * lengths <= 1e-6).all())
    assert factors.tolist()[2:] == [1.0, 1.0]


def test_a_row_whose_squares_vanish_is_still_long() -> None:
    """1e-25 under a norm of 1e-30, in float32; 1e-200 in float64."""
    assert float(row_lengths(torch.tensor([[1e-25, 0.0]]))[0]) == pytest.approx(1e-25)
    assert float(row_lengths(torch.full((1, 4), 1e-200, dtype=torch.float64))[0]) == pytest.approx(2e-200)
    assert float(clip_rows(torch.tensor([[1e-25, 0.0]]), 1e-30)[0, 0]) == pytest.approx(1e-30)


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.uint8, torch.bool, torch.complex64],
)
def test_a_dtype_in_which_the_bound_means_nothing_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(UnsafeParameters, match="too coarse to clip in; train in float32 or float64"):
        clip_rows(torch.ones(2, 2).to(dtype), 1.0)
    with pytest.raises(UnsafeParameters, match="too coarse"):
        clip_factors(torch.ones(2), 1.0, dtype)


def test_huge_finite_rows_are_clipped() -> None:
    clipped = clip_rows(torch.tensor([[3e38, 3e38]]), 1.0)
    torch.testing.assert_close(clipped, torch.full((1, 2), math.sqrt(0.5)))


def test_no_rows_are_no_rows() -> None:
    assert clip_rows(torch.zeros(0, 3), 1.0).shape == (0, 3)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, math.inf, 1e-31])
def test_an_impossible_norm_is_refused(norm: float) -> None:
    with pytest.raises(UnsafeParameters):
        clip_rows(torch.zeros(1, 1), norm)


@given(st.lists(st.floats(), min_size=1, max_size=8), NORMS)
def test_a_box_holds_everything(values: list[float], bound: float) -> None:
    boxed = into_box(torch.tensor(values, dtype=torch.float64), bound)
    assert bool((boxed.abs() <= bound).all())


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=8), st.floats(0.1, 5))
def test_a_box_moves_no_two_points_apart(pairs: list[tuple[float, float]], bound: float) -> None:
    left, right = torch.tensor(pairs, dtype=torch.float64).T
    assert (
        float((into_box(left, bound) - into_box(right, bound)).norm()) <= float((left - right).norm()) + 1e-12
    )


SQUARES = st.lists(st.floats(0, 1e150) | st.sampled_from([0.0, 1.0, 2.0**-500, 1e-160]), max_size=40)


@given(SQUARES, st.integers(1, 7), st.integers(1, 5))
def test_a_sum_of_squares_is_the_one_that_is_rounded_once(
    numbers: list[float], part: int, times: int
) -> None:
    """In parts of any length, in rows of any length: bit by bit what `math.fsum` gives."""
    whole = torch.tensor(numbers * times, dtype=torch.float64)
    exact = math.fsum((whole * whole).tolist())
    with patch.object(clipping, "_ROW", 3):
        assert sum_of_squares(lambda: torch.split(whole, part)) == exact
    assert sum_of_squares(lambda: [whole]) == exact


def test_a_sum_of_squares_that_two_roundings_would_get_wrong_is_added_up_exactly() -> None:
    """Just off the middle of two floats by less than the rests are known: both sides, and the middle itself."""
    for off, expected in ((2.0**-60, 1 + 2.0**-52), (0.0, 1.0)):
        numbers = torch.tensor([1.0, 2.0**-27, 2.0**-27, off], dtype=torch.float64)
        with patch.object(clipping, "_ROW", 1), patch.object(clipping, "chain", wraps=chain) as exactly:
            assert sum_of_squares(lambda numbers=numbers: [numbers]) == expected  # type: ignore[misc]
        assert exactly.from_iterable.called


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_long_rows_are_clipped_in_parts_to_the_same_length(dtype: torch.dtype) -> None:
    rows = torch.randn(3, 1000, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)
    rows[0, 990] = math.nan
    rows[1] /= 1e3
    whole = clip_rows(rows, 1.5)
    with patch.object(clipping, "_LONG", 64):
        parts = clip_rows(rows, 1.5)
    assert torch.allclose(whole, parts, rtol=1e-6 if dtype is torch.float32 else 1e-14, atol=0)
    assert not parts[0].any() and torch.equal(parts[1], rows[1])
    assert float(torch.linalg.vector_norm(parts[2].double())) <= 1.5 * (1 + 2**-40)
