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

from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.events import GaussianEvent
from privacy.errors import UnsafeParameters
from privacy.mechanism.gaussian import FLOAT_SLACK, GaussianMechanism
from privacy.mechanism.noise import MAX_DRAW, SIGMA, VARIANCE, Stream
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


def test_a_model_too_large_for_the_usual_grid_gets_a_finer_one_and_one_too_large_for_all_is_refused() -> None:
    limit = int((SIGMA / (2.178 * 11)) ** 2)
    assert mechanism(shares=1, dimension=limit).width == 1
    assert mechanism(shares=1, dimension=limit + 2000).width == 4
    assert mechanism(shares=4, dimension=limit + 2000).width == 1
    most = int((SIGMA * 256 / (2.178 * 41)) ** 2)
    assert mechanism(shares=1, dimension=most).width == 256
    with pytest.raises(UnsafeParameters, match=rf"{most + 20_000_000} parameters .*; train fewer"):
        mechanism(shares=1, dimension=most + 20_000_000)


def test_a_hundred_million_parameters_fit_four_sites_with_a_colluder_and_a_dropout() -> None:
    for multiplier, width in ((0.5, 16), (1.0, 32), (2.0, 64), (4.0, 128)):
        built = mechanism(noise_multiplier=multiplier, shares=2, dimension=10**8)
        assert built.width == width
        assert math.sqrt(10**8) * built.step < built.clipping_norm / 40


@given(st.floats(1e-3, 1e3), st.floats(0.3, 60), st.integers(1, 100), st.integers(1, 10**9))
def test_what_fits_the_usual_grid_is_noised_as_ever_and_all_else_as_widely_as_it_has_to_be(
    norm: float, multiplier: float, shares: int, dimension: int
) -> None:
    usual, rounding = SIGMA * math.sqrt(shares) / multiplier, math.sqrt(dimension)
    assume(rounding <= 256 * usual / 41)
    built = mechanism(clipping_norm=norm, noise_multiplier=multiplier, shares=shares, dimension=dimension)
    if rounding <= 0.1 * (usual - rounding):
        assert (built.width, built.deviation, built.max_draw) == (1, SIGMA, MAX_DRAW)
        assert built.step == (1 + FLOAT_SLACK) * norm / (usual - rounding)  # to the last bit
        return
    assert built.width in (2, 4, 8, 16, 32, 64, 128, 256)
    assert built.deviation == SIGMA * built.width
    assert rounding * built.step <= norm * (1 + FLOAT_SLACK) / 40 * (1 + 1e-9)
    assert built.width == 2 or rounding > (built.width / 2 * usual - rounding) / 40
    sensitivity = norm / built.step + rounding
    assert built.deviation * math.sqrt(shares) / sensitivity > multiplier  # never less than claimed
    assert built.deviation * math.sqrt(shares) / sensitivity == pytest.approx(multiplier, rel=2 * FLOAT_SLACK)


def test_a_wide_share_its_parts_and_their_sum_are_as_wide_as_the_mechanism_says() -> None:
    """Chi-square of each on 20,000 coordinates: false alarm 1e-6, fixed keys; a width off by two is told."""
    built = mechanism(noise_multiplier=60.0, shares=2, dimension=20_000)
    assert built.width == 16
    drawn = {
        VARIANCE: built.noise(Stream(bytes(32))),
        VARIANCE // 4: built.noise(Stream(bytes(32)), VARIANCE // 4),
        3 * VARIANCE // 4: built.noise_of(Stream(bytes(32)), 3, VARIANCE // 4),
    }
    low, high = stats.chi2.interval(1 - 1e-6, 20_000)
    for variance, draws in drawn.items():
        assert int(np.abs(draws).max()) <= built.most(variance)
        ratio = float((draws.astype(np.float64) ** 2).sum()) / (built.width**2 * variance)
        assert low < ratio < high
        assert not low < ratio / 4 < high and not low < ratio * 4 < high
    rows = built.noise_rows(Stream(bytes(32)), 2)
    assert rows.shape == (2, 20_000)
    assert abs(np.corrcoef(rows)[0, 1]) < 5 / math.sqrt(20_000)


@pytest.mark.parametrize("width", [1, 8])
@pytest.mark.parametrize("multiplier", [1.0, 2.0])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 1.0, 2.0])
def test_the_exact_loss_of_the_discrete_gaussian_is_the_closed_form_of_the_continuous_one(
    multiplier: float, epsilon: float, width: int
) -> None:
    scale = SIGMA * width
    exact = discrete_delta(round(scale / multiplier), epsilon, scale)
    near, far = epsilon * multiplier, 1 / (2 * multiplier)
    continuous = stats.norm.sf(near - far) - math.exp(epsilon) * stats.norm.sf(near + far)
    assert exact == pytest.approx(continuous, abs=1e-6)
    # The control: a shift one percent larger is told apart.
    assert abs(discrete_delta(round(1.01 * scale / multiplier), epsilon, scale) - continuous) > 1e-6


@pytest.mark.parametrize(("width", "dimension"), [(1, 100_000), (8, 400_000)])
def test_epsilon_of_the_worst_neighbors_on_the_grid_is_what_the_accountant_says_to_1e_4(
    width: int, dimension: int
) -> None:
    """Rounded vectors are sqrt(d) further apart at worst; the exact loss of that shift is what z was chosen for."""
    multiplier, delta = noise_multiplier(1.0, 1e-5, 1.0, 1), 1e-5
    built = mechanism(noise_multiplier=multiplier, sample_rate=1.0, shares=1, dimension=dimension)
    assert built.width == width
    shift = math.floor(1 / built.step + math.sqrt(dimension))
    assert discrete_delta(shift, 1.0 + 1e-4, built.deviation) < delta
    assert discrete_delta(shift, 1.0 - 1e-3, built.deviation) > delta  # the failing control


def discrete_delta(shift: int, epsilon: float, scale: int = SIGMA) -> float:
    """Sum over all integers of the positive part of P[k] - e^epsilon P[k - shift]."""
    at = np.arange(-14 * scale, 14 * scale + shift).astype(np.float64)
    mass = np.exp(-(at**2) / (2 * scale**2)) / (scale * math.sqrt(2 * math.pi))
    moved = np.exp(-((at - shift) ** 2) / (2 * scale**2)) / (scale * math.sqrt(2 * math.pi))
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
