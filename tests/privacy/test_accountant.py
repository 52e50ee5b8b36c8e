"""Epsilon against exact values, another accountant and its own laws; nothing impossible reaches the library."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accountant import cross_check, epsilon, epsilon_by_round, gaussian_delta, gaussian_epsilon
from privacy.errors import UnsafeParameters, UnsupportedEvent
from privacy.events import GaussianEvent, NonPrivateEvent

UNSAMPLED = st.builds(GaussianEvent, st.floats(0.5, 50), st.just(1.0), st.integers(0, 100))
SAMPLED = st.builds(GaussianEvent, st.floats(0.8, 10), st.floats(0.01, 0.5), st.integers(1, 100))
DELTAS = st.sampled_from([1e-3, 1e-5, 1e-7])


@pytest.mark.parametrize(
    ("rate", "multiplier", "count", "delta", "expected"),
    [
        (1, 1, 1, 1e-5, 4.3772),
        (1, 5, 50, 1e-5, 6.5730),
        (0.01, 1, 1000, 1e-5, 1.8282),
        (0.004, 1.1, 15000, 1e-5, 2.2955),
        (0.5, 2, 20, 1e-5, 5.6895),
        (0.001, 0.6, 5000, 1e-6, 2.7484),
    ],
)
def test_epsilon_is_the_reference_to_a_thousandth_and_renyi_is_looser(
    rate: float, multiplier: float, count: int, delta: float, expected: float
) -> None:
    event = GaussianEvent(multiplier, rate, count)
    assert epsilon([event], delta) == pytest.approx(expected, abs=1e-3)
    assert expected < cross_check([event], delta)["rdp"] < 1.6 * expected


@pytest.mark.parametrize(
    ("target", "mu"), [(0.5, 0.1422), (1, 0.2681), (2, 0.5016), (4, 0.9249), (8, 1.666), (10, 2.000)]
)
def test_unsampled_releases_follow_the_closed_form(target: float, mu: float) -> None:
    assert gaussian_epsilon(mu, 1e-5) == pytest.approx(target, rel=1e-3)
    assert epsilon([GaussianEvent(1 / mu, 1.0, 1)], 1e-5) == pytest.approx(target, rel=1e-3)


@given(st.floats(0.01, 60), DELTAS)
def test_the_closed_form_inverts_itself_from_above(mu: float, delta: float) -> None:
    found = gaussian_epsilon(mu, delta)
    assert gaussian_delta(mu, found) <= delta
    if found > 0:
        assert gaussian_delta(mu, found * (1 - 1e-6)) > delta


@given(UNSAMPLED, UNSAMPLED, DELTAS)
def test_order_and_splitting_do_not_matter(one: GaussianEvent, other: GaussianEvent, delta: float) -> None:
    assert epsilon([one, other], delta) == epsilon([other, one], delta)
    twice = GaussianEvent(one.noise_multiplier, 1.0, 2 * one.count)
    assert epsilon([one, one], delta) == epsilon([twice], delta)


@given(SAMPLED, DELTAS)
@settings(max_examples=8, deadline=None)
def test_epsilon_grows_with_steps_and_sampling_and_falls_with_noise(
    event: GaussianEvent, delta: float
) -> None:
    z, rate, count = event.noise_multiplier, event.sample_rate, event.count
    here = epsilon([event], delta)
    assert epsilon([GaussianEvent(z, rate, 2 * count)], delta) >= here - 1e-3
    assert epsilon([GaussianEvent(z, min(1.0, 1.5 * rate), count)], delta) >= here - 1e-3
    assert epsilon([GaussianEvent(1.2 * z, rate, count)], delta) <= here + 1e-3
    assert here <= epsilon([GaussianEvent(z, 1.0, count)], delta) + 1e-3  # sampling never costs


@given(SAMPLED, SAMPLED, DELTAS)
@settings(max_examples=6, deadline=None)
def test_two_plans_cost_at_least_each_and_at_most_the_renyi_bound(
    one: GaussianEvent, other: GaussianEvent, delta: float
) -> None:
    both = epsilon([one, other], delta)
    assert both >= max(epsilon([one], delta), epsilon([other], delta)) - 1e-3
    assert both <= cross_check([one, other], delta)["rdp"] + 1e-3


def test_sampled_and_unsampled_releases_compose() -> None:
    sampled, whole = GaussianEvent(1.0, 0.01, 1000), GaussianEvent(5.0, 1.0, 4)
    both = epsilon([sampled, whole], 1e-5)
    # Sampled at almost 1 takes the library's other road, step by step, to almost the same place.
    nearly_whole = GaussianEvent(5.0, 1 - 1e-9, 4)
    assert both == pytest.approx(epsilon([sampled, nearly_whole], 1e-5), abs=1e-3)
    assert epsilon([sampled], 1e-5) + 0.1 < both


def test_nothing_costs_nothing_and_no_noise_costs_everything() -> None:
    assert epsilon([], 1e-5) == 0.0
    assert epsilon([GaussianEvent(1.0, 0.1, 0)], 1e-5) == 0.0
    assert epsilon([NonPrivateEvent(), GaussianEvent(1.0, 0.1, 1)], 1e-5) == math.inf
    assert cross_check([NonPrivateEvent()], 1e-5) == {"rdp": math.inf}


def test_a_vast_epsilon_is_bounded_at_once() -> None:
    cross_check([GaussianEvent(1.0, 0.1, 1)], 1e-5)  # imports the library
    start = time.perf_counter()
    assert 2600 < epsilon([GaussianEvent(0.3, 0.5, 1000)], 1e-5) < math.inf
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("event", "rounds"),
    [
        (GaussianEvent(2.178, 0.1, 1), 200),
        (GaussianEvent(2.0, 1.0, 3), 200),
        (GaussianEvent(1.1, 0.004, 75), 50),
        (GaussianEvent(0.3, 0.5, 50), 20),
    ],
)
def test_epsilon_by_round_rises_to_the_whole_plan(event: GaussianEvent, rounds: int) -> None:
    z, rate, count = event.noise_multiplier, event.sample_rate, event.count
    curve = epsilon_by_round(event, rounds, 1e-5)
    assert len(curve) == rounds
    assert curve == sorted(curve)
    assert curve[-1] == pytest.approx(epsilon([GaussianEvent(z, rate, count * rounds)], 1e-5), abs=1e-3)
    for done in (1, rounds // 2):
        direct = epsilon([GaussianEvent(z, rate, count * done)], 1e-5)
        assert direct - 1e-3 <= curve[done - 1] <= direct + max(0.02, 0.3 * direct * (curve[-1] > 200))


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 1e-13, math.nan, math.inf, True])
def test_an_impossible_delta_is_refused_before_the_library_sees_it(delta: float) -> None:
    for ask in (epsilon, cross_check):
        with pytest.raises(UnsafeParameters):
            ask([], delta)
    with pytest.raises(UnsafeParameters):
        epsilon_by_round(GaussianEvent(1.0, 0.1, 1), 2, delta)


def test_an_unknown_event_is_refused() -> None:
    unknown: Any = "laplace"
    with pytest.raises(UnsupportedEvent):
        epsilon([unknown], 1e-5)


def test_the_library_is_imported_only_when_needed() -> None:
    code = (
        "import sys, privacy.accountant as a, privacy.calibration, privacy.budget, privacy.events as e;"
        "a.epsilon([e.GaussianEvent(2.0, 1.0, 10)], 1e-5);"
        "sys.exit('dp_accounting' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
