"""The scale of the one noise, the sensitivity on the grid, and the gap to the continuous Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from privacy.accounting.events import GaussianEvent
from privacy.errors import UnsafeParameters
from privacy.mechanism.gaussian import FLOAT_SLACK, GaussianMechanism
from privacy.mechanism.noise import MAX_DRAW, SIGMA, Stream
from tests.scale import scaled


def mechanism(**changes: Any) -> GaussianMechanism:
    usual: dict[str, Any] = {
        "clipping_norm": 1.0, "noise_multiplier": 2.178, "sample_rate": 0.1, "shares": 3, "dimension": 31,
    }  # fmt: skip
    return GaussianMechanism(**(usual | changes))


@given(st.floats(1e-3, 1e3), st.floats(0.3, 50), st.integers(1, 20), st.integers(1, 10_000))
def test_the_noise_is_the_claimed_multiple_of_the_sensitivity(
    norm: float, multiplier: float, shares: int, dimension: int
) -> None:
    assume(math.sqrt(dimension) <= SIGMA * math.sqrt(shares) / multiplier / 11)
    built = mechanism(clipping_norm=norm, noise_multiplier=multiplier, shares=shares, dimension=dimension)
    sensitivity = norm / built.step + math.sqrt(dimension)
    assert SIGMA * math.sqrt(shares) / sensitivity == pytest.approx(multiplier, rel=2 * FLOAT_SLACK)
    assert SIGMA * math.sqrt(shares) / sensitivity > multiplier  # never less than claimed


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-1, 1)), min_size=1, max_size=30))
def test_neighbors_on_the_grid_are_as_close_as_the_scale_assumes(pairs: list[tuple[float, float]]) -> None:
    sums, change = np.array(pairs).T
    change /= max(1.0, float(np.linalg.norm(change)))  # one clipped record
    step = mechanism(dimension=len(pairs)).step
    moved = np.rint((sums + change) / step) - np.rint(sums / step)
    assert np.linalg.norm(moved) <= 1 / step + math.sqrt(len(pairs))


def test_a_share_is_the_one_noise_and_its_event_the_claim() -> None:
    share = mechanism(dimension=1000).noise(Stream(bytes(32)))
    assert share.shape == (1000,)
    assert int(np.abs(share).max()) <= MAX_DRAW
    assert mechanism().event == GaussianEvent(2.178, 0.1, 1)


@pytest.mark.power
def test_the_sum_of_shares_has_the_claimed_scale_and_the_test_sees_a_missing_share(
    record_property: Callable[[str, object], None],
) -> None:
    # False alarm 1e-6, fixed keys; the noise of 3 shares on 20,000 coordinates, in units of the clipping norm.
    count = scaled(20_000)
    built = mechanism(dimension=count)
    total = sum(built.noise(Stream(bytes([share]) * 32)) for share in range(3)) * built.step
    wanted = 2.178 * (1 + math.sqrt(count) * built.step)
    low, high = stats.chi2.interval(1 - 1e-6, count)
    ratio = float((total**2).sum()) / wanted**2
    record_property("scale", f"{math.sqrt(ratio / count):.5f} of the claimed one on {count} coordinates")
    assert low < ratio < high
    assert not low < ratio * 2 / 3 < high


@pytest.mark.parametrize(
    "changes",
    [
        *[{"clipping_norm": norm} for norm in (0.0, -1.0, math.nan, math.inf, True)],
        *[{"shares": shares} for shares in (0, -1, 1.5, True)],
        *[{"dimension": dimension} for dimension in (0, -3, True)],
        {"noise_multiplier": math.nan},
        {"sample_rate": 0.0},
    ],
)
def test_impossible_arguments_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsafeParameters):
        mechanism(**changes)


def test_a_model_too_large_for_the_grid_is_refused_with_its_size_and_a_way_out() -> None:
    limit = int((SIGMA / (2.178 * 11)) ** 2)
    assert mechanism(shares=1, dimension=limit).step > 0
    with pytest.raises(UnsafeParameters, match=rf"{limit + 2000} parameters .*; train fewer"):
        mechanism(shares=1, dimension=limit + 2000)
    assert mechanism(shares=4, dimension=limit + 2000).step > 0


@pytest.mark.parametrize("multiplier", [1.0, 2.0])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 1.0, 2.0])
def test_the_exact_loss_of_the_discrete_gaussian_is_the_closed_form_of_the_continuous_one(
    multiplier: float, epsilon: float
) -> None:
    exact = discrete_delta(round(SIGMA / multiplier), epsilon)
    near, far = epsilon * multiplier, 1 / (2 * multiplier)
    continuous = stats.norm.sf(near - far) - math.exp(epsilon) * stats.norm.sf(near + far)
    assert exact == pytest.approx(continuous, abs=1e-6)
    # The control: a shift one percent larger is told apart.
    assert abs(discrete_delta(round(1.01 * SIGMA / multiplier), epsilon) - continuous) > 1e-6


def discrete_delta(shift: int, epsilon: float) -> float:
    """Sum over all integers of the positive part of P[k] - e^epsilon P[k - shift]."""
    at = np.arange(-14 * SIGMA, 14 * SIGMA + shift).astype(np.float64)
    mass = np.exp(-(at**2) / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi))
    moved = np.exp(-((at - shift) ** 2) / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi))
    return float(np.maximum(moved - math.exp(epsilon) * mass, 0).sum())


def test_a_rounded_gaussian_is_the_discrete_one_as_closely_as_the_theory_says() -> None:
    with mpmath.workdps(60):
        assert 5 < _variation(mpmath.mpf(SIGMA) ** 2 - mpmath.mpf(1) / 12) * SIGMA**4 < 10
        # The control: without Sheppard's correction the two differ a million times more.
        assert _variation(mpmath.mpf(SIGMA) ** 2) * SIGMA**4 > 1e6


def _variation(variance: Any) -> Any:
    """How much log(rounded continuous / discrete) varies over |u| <= 13 SIGMA, by 60-digit arithmetic."""
    scale = mpmath.sqrt(2 * variance)
    logs = []
    for u in range(0, 13 * SIGMA + 1, SIGMA // 4):
        cell = (
            mpmath.erfc((u - mpmath.mpf(1) / 2) / scale) - mpmath.erfc((u + mpmath.mpf(1) / 2) / scale)
        ) / 2
        logs.append(mpmath.log(cell) + mpmath.mpf(u * u) / (2 * SIGMA**2))
    return max(logs) - min(logs)


def rounding_slack(dimension: int, steps: int) -> float:
    """By how much a run's epsilon may exceed the continuous Gaussian's: point 3 of `privacy.mechanism.gaussian`."""
    return 20 * dimension * steps / SIGMA**4


def test_the_slack_is_far_below_what_is_printed() -> None:
    assert rounding_slack(31, 200) == pytest.approx(1.72e-12, rel=1e-2)
    assert rounding_slack(100_000, 200) < 1e-8
