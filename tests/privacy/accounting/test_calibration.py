"""The least noise that is enough: enough, least, and equal to the references."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.calibration import LOOKS, _least, noise_multiplier
from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from privacy.errors import CalibrationFailed, UnsafeParameters


@pytest.mark.parametrize(("target", "expected"), [(8, 1.131), (3, 2.178), (1, 5.428)])
def test_the_noise_is_the_reference_to_a_thousandth(target: float, expected: float) -> None:
    assert noise_multiplier(target, 1e-5, 0.1, 200) == pytest.approx(expected, abs=1.001e-3)


@given(st.floats(0.05, 20), st.sampled_from([1e-5, 1e-7]), st.integers(1, 500))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_the_noise_is_enough_and_a_thousandth_less_is_not(target: float, delta: float, count: int) -> None:
    z = noise_multiplier(target, delta, 1.0, count)
    assert round(1000 * z) == pytest.approx(1000 * z)
    assert epsilon([GaussianEvent(z, 1.0, count)], delta) <= target
    assert z == 0.3 or epsilon([GaussianEvent(z - 1e-3, 1.0, count)], delta) > target


@given(st.floats(0.2, 8), st.floats(0.01, 0.5), st.integers(1, 300))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_the_same_holds_for_sampled_releases(target: float, rate: float, count: int) -> None:
    z = noise_multiplier(target, 1e-5, rate, count)
    assert epsilon([GaussianEvent(z, rate, count)], 1e-5) <= target
    assert z == 0.3 or epsilon([GaussianEvent(z - 2e-3, rate, count)], 1e-5) > target


def test_nothing_to_release_needs_the_least_noise() -> None:
    assert noise_multiplier(1.0, 1e-5, 0.1, 0) == 0.3


def test_a_target_out_of_reach_is_refused_with_a_way_out() -> None:
    with pytest.raises(CalibrationFailed, match="; allow a larger epsilon"):
        noise_multiplier(1e-6, 1e-10, 1.0, 10**6)


@pytest.mark.parametrize(
    ("target", "delta", "rate", "count"),
    [
        *[(target, 1e-5, 0.1, 1) for target in (0.0, -1.0, math.nan, math.inf, True)],
        *[(1.0, delta, 0.1, 1) for delta in (0.0, 1.0, math.nan)],
        *[(1.0, 1e-5, rate, 1) for rate in (0.0, 1.5, math.nan)],
        *[(1.0, 1e-5, 0.1, count) for count in (-1, 2.5)],
    ],
)
def test_impossible_arguments_are_refused(target: float, delta: float, rate: float, count: int) -> None:
    with pytest.raises(UnsafeParameters):
        noise_multiplier(target, delta, rate, count)


@pytest.mark.parametrize(
    "cost",
    [
        lambda z: 1e9 / z,
        lambda z: 1.0 if z < 77_777_777 else 0.1,  # a step that no secant can see
        lambda z: math.inf if z < 400_000 else 0.5,
        lambda z: 0.0 if z > 5_000 else math.inf,
        lambda z: 0.3 + 1e-12 * (100_000_000 - z),  # flat
        lambda z: 1.0 + 1e-9 * (1 << 26) / z,  # never enough
        lambda z: (z % 7 + 1) * 1e8 / z,  # not even falling
    ],
    ids=["falling", "a step", "infinite", "nothing", "flat", "never enough", "jagged"],
)
@pytest.mark.parametrize("begin", [301, 10_000, 99_999_999])
def test_no_plan_makes_a_calibration_ask_more_often_than_is_said(
    cost: Callable[[int], float], begin: int
) -> None:
    """What a plan that nobody has read may cost a site is counted, not timed: the same on every machine."""
    asked: list[int] = []

    def counted(thousandths: int) -> float:
        asked.append(thousandths)
        return cost(thousandths)

    try:
        found = _least(counted, 0.31, begin)
    except CalibrationFailed:
        assert cost(100_000_000) > 0.31
    else:
        assert cost(found) <= 0.31
    assert len(asked) <= LOOKS + 1 <= 50
