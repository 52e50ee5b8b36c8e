"""Every row ends within the bound, whatever it was; one row more moves a sum by no more than the bound."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import UnsafeParameters
from privacy.mechanism.clipping import clip_factors, clip_rows, into_box, row_lengths

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
