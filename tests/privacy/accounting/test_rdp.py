"""Renyi divergences against a library, against integrals with many digits, and against their own laws."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import dp_accounting
import mpmath
import pytest
from dp_accounting import rdp
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.events import GaussianEvent
from privacy.accounting.pld import epsilon
from privacy.accounting.rdp import divergence, renyi

ORDERS = [2, 3, 5, 9, 17, 64, 256, 1000]


def by_library(event: GaussianEvent, order: int) -> float:
    """The divergence by dp-accounting, which knows no groups."""
    accountant = rdp.RdpAccountant([order])
    gaussian = dp_accounting.GaussianDpEvent(event.noise_multiplier)
    accountant.compose(dp_accounting.PoissonSampledDpEvent(event.sample_rate, gaussian))
    return float(accountant._rdp[0])


def by_integral(event: GaussianEvent, order: int) -> float:
    """The larger of the two divergences, by quadrature with 25 digits."""
    with mpmath.workdps(25):
        z, q, group = mpmath.mpf(event.noise_multiplier), mpmath.mpf(event.sample_rate), event.group
        chances = [mpmath.binomial(group, k) * q**k * (1 - q) ** (group - k) for k in range(group + 1)]

        def without(x: mpmath.mpf) -> mpmath.mpf:
            return mpmath.npdf(x, 0, z)

        def with_(x: mpmath.mpf) -> mpmath.mpf:
            return mpmath.fsum(chance * mpmath.npdf(x, k, z) for k, chance in enumerate(chances))

        ends = [step * z for step in range(-36, 37, 12)]
        cuts = sorted({*ends, *(end + order * group for end in ends), *(end - order * group for end in ends)})
        moments = (
            mpmath.quad(lambda x: with_(x) ** order * without(x) ** (1 - order), cuts),
            mpmath.quad(lambda x: without(x) ** order * with_(x) ** (1 - order), cuts),
        )
        return float(mpmath.log(max(moments)) / (order - 1))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("rate", [1e-6, 0.001, 0.02, 0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("z", [0.1, 0.6, 1.0, 5.0, 100.0])
def test_one_contribution_diverges_as_the_library_says(z: float, rate: float, order: int) -> None:
    event = GaussianEvent(z, rate, 1)
    found, expected = renyi(event, order), by_library(event, order)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-15)  # the library's own rounding


@pytest.mark.parametrize("z", [1e3, 1e6])
@pytest.mark.parametrize("rate", [1e-6, 0.02, 0.5])
def test_divergences_too_small_for_floating_point_sums_are_right_too(z: float, rate: float) -> None:
    """With this much noise the moment is 1 + 1e-18, which a sum in float64 takes for 1, and nothing for spent."""
    assert renyi(GaussianEvent(z, rate, 1), 2) == pytest.approx((rate / z) ** 2, rel=1e-5, abs=0)


@pytest.mark.parametrize(
    ("z", "rate", "group", "order"),
    [
        (1.0, 0.02, 2, 2),
        (1.0, 0.02, 2, 4),
        (2.2, 0.1, 3, 5),
        (5.0, 0.5, 4, 6),
        (3.0, 0.9, 5, 3),
    ],
)
def test_a_group_diverges_as_the_integral_says_and_never_less(
    z: float, rate: float, group: int, order: int
) -> None:
    event = GaussianEvent(z, rate, 1, group)
    found, expected = renyi(event, order), by_integral(event, order)
    assert expected <= found <= expected * (1 + 1e-8) + 1e-12


@given(st.floats(0.1, 100), st.floats(1e-4, 1), st.integers(1, 30), st.sampled_from([2, 3, 7, 20]))
@settings(deadline=None, derandomize=True)
def test_divergence_is_between_that_of_one_contribution_and_that_without_sampling(
    z: float, rate: float, group: int, order: int
) -> None:
    found = renyi(GaussianEvent(z, rate, 1, group), order)
    assert found >= renyi(GaussianEvent(z, rate, 1), order) * (1 - 1e-8)
    assert found <= order * (group / z) ** 2 / 2 * (1 + 1e-8)


@given(st.floats(0.5, 20), st.floats(0.001, 0.99), st.integers(1, 8))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_divergence_grows_with_order_sampling_and_group_and_falls_with_noise(
    z: float, rate: float, group: int
) -> None:
    """DP-12: monotone in everything."""
    event = GaussianEvent(z, rate, 1, group)
    for low, high in pairwise(renyi(event, order) for order in (2, 3, 5, 8, 13)):
        assert low <= high + 1e-12
    here = renyi(event, 4) * (1 - 1e-8) - 1e-12
    assert renyi(GaussianEvent(z, rate, 1, group + 1), 4) >= here
    assert renyi(GaussianEvent(z, min(1.0, 1.1 * rate), 1, group), 4) >= here
    assert renyi(GaussianEvent(z / 1.1, rate, 1, group), 4) >= here


@pytest.mark.parametrize(
    "event",
    [GaussianEvent(1.0, 0.02, 500, 2), GaussianEvent(2.2, 0.1, 200, 3), GaussianEvent(10.0, 0.1, 50, 12)],
)
def test_what_the_divergences_promise_is_never_less_than_the_privacy_loss_distribution_finds(
    event: GaussianEvent,
) -> None:
    promises = [
        event.count * renyi(event, order)
        + math.log1p(-1 / order)
        - (math.log(1e-5) + math.log(order)) / (order - 1)
        for order in range(2, 40)
    ]
    found = epsilon([event], 1e-5)
    assert found <= min(promises) <= 2 * found


def test_a_divergence_takes_milliseconds_and_the_second_time_nothing() -> None:
    divergence.cache_clear()
    events = [
        GaussianEvent(z, rate, 1, group) for z in (1.0, 5.0) for rate in (0.01, 0.2) for group in (1, 2, 5)
    ]
    start = time.process_time()
    for event in events:
        renyi(event, 12)
    assert time.process_time() - start < 0.02 * len(events)
    start = time.process_time()
    for event in 1000 * events:
        renyi(event, 12)
    assert time.process_time() - start < 2
