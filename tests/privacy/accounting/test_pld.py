"""Epsilon against exact values, another accountant and its own laws; nothing impossible reaches the library."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dp_accounting import dp_event, rdp
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import GaussianEvent, NonPrivateEvent
from privacy.accounting.pld import epsilon, epsilon_by_round, rdp_epsilon
from privacy.accounting.unsampled import gaussian_delta, gaussian_epsilon
from privacy.errors import UnsafeParameters, UnsupportedEvent
from tests.patience import within
from tests.privacy.accounting.replacing import replacing

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
    """DP-2: the grid of reference values."""
    event = GaussianEvent(multiplier, rate, count)
    assert epsilon([event], delta) == pytest.approx(expected, abs=1e-3)
    assert expected < rdp_epsilon([event], delta) < 1.6 * expected


@pytest.mark.parametrize(
    ("target", "mu"), [(0.5, 0.1422), (1, 0.2681), (2, 0.5016), (4, 0.9249), (8, 1.666), (10, 2.000)]
)
def test_unsampled_releases_follow_the_closed_form(target: float, mu: float) -> None:
    """DP-1: the closed form."""
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
    """DP-5 and DP-6: no order, and T = a + b is T."""
    assert epsilon([one, other], delta) == epsilon([other, one], delta)
    twice = GaussianEvent(one.noise_multiplier, 1.0, 2 * one.count)
    assert epsilon([one, one], delta) == epsilon([twice], delta)


@given(SAMPLED, DELTAS)
@settings(max_examples=5, deadline=None, derandomize=True)
def test_epsilon_grows_with_steps_and_sampling_and_falls_with_noise(
    event: GaussianEvent, delta: float
) -> None:
    """DP-12: monotone in T, q and 1/z."""
    z, rate, count = event.noise_multiplier, event.sample_rate, event.count
    here = epsilon([event], delta)
    assert epsilon([GaussianEvent(z, rate, 2 * count)], delta) >= here - 1e-3
    assert epsilon([GaussianEvent(z, min(1.0, 1.5 * rate), count)], delta) >= here - 1e-3
    assert epsilon([GaussianEvent(1.2 * z, rate, count)], delta) <= here + 1e-3
    assert here <= epsilon([GaussianEvent(z, 1.0, count)], delta) + 1e-3  # sampling never costs


@given(SAMPLED, SAMPLED, DELTAS)
@settings(max_examples=4, deadline=None, derandomize=True)
def test_two_plans_cost_at_least_each_and_at_most_the_renyi_bound(
    one: GaussianEvent, other: GaussianEvent, delta: float
) -> None:
    both = epsilon([one, other], delta)
    assert both >= max(epsilon([one], delta), epsilon([other], delta)) - 1e-3
    assert both <= rdp_epsilon([one, other], delta) + 1e-3


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
    assert cross_check([NonPrivateEvent()], 1e-5) == {"rdp": math.inf, "prv": None}


def test_a_vast_epsilon_is_bounded_at_once() -> None:
    cross_check([GaussianEvent(1.0, 0.1, 1)], 1e-5)  # imports the library
    with within(5):
        assert 2600 < epsilon([GaussianEvent(0.3, 0.5, 1000)], 1e-5) < math.inf


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
    spent = epsilon_by_round(event, rounds, 1e-5)
    curve = list(spent.values())
    assert list(spent) == list(range(1, rounds + 1))
    assert curve == sorted(curve)
    assert curve[-1] == pytest.approx(epsilon([GaussianEvent(z, rate, count * rounds)], 1e-5), abs=1e-3)
    for done in (1, rounds // 2):
        direct = epsilon([GaussianEvent(z, rate, count * done)], 1e-5)
        assert direct - 1e-3 <= curve[done - 1] <= direct + max(0.02, 0.3 * direct * (curve[-1] > 200))


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, 1e-13, math.nan, math.inf, True])
def test_an_impossible_delta_is_refused_before_the_library_sees_it(delta: float) -> None:
    """DP-8: refused before any library is called."""
    for ask in (epsilon, cross_check):
        with pytest.raises(UnsafeParameters):
            ask([], delta)
    with pytest.raises(UnsafeParameters):
        epsilon_by_round(GaussianEvent(1.0, 0.1, 1), 2, delta)


@given(SAMPLED, SAMPLED, DELTAS)
@settings(max_examples=4, deadline=None, derandomize=True)
def test_sampled_plans_have_no_order_and_can_be_split(
    one: GaussianEvent, other: GaussianEvent, delta: float
) -> None:
    """DP-5 and DP-6: for sampled releases, too."""
    assert epsilon([one, other], delta) == epsilon([other, one], delta)
    a, b = replace(one, count=one.count // 2), replace(one, count=one.count - one.count // 2)
    assert epsilon([a, other, b], delta) == epsilon([one, other], delta)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (GaussianEvent(1.0, 0.02, 500), 2.77),
        (GaussianEvent(1.0, 0.02, 1000), 3.90),
        (GaussianEvent(1.0, 0.02, 1500), 4.81),
        (GaussianEvent(1.0, 0.02, 500, 2), 6.10),
        (GaussianEvent(1.0, 0.02, 500, 4), 13.89),
        (GaussianEvent(1.0, 0.02, 500, 8), 33.52),
    ],
)
def test_a_group_costs_what_was_measured_before(event: GaussianEvent, expected: float) -> None:
    """DP-10: one record 2.77, two of one person 6.10, two sites 3.90."""
    assert epsilon([event], 1e-5) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    "event",
    [GaussianEvent(2.0, 0.1, 100, 3), GaussianEvent(8.0, 0.5, 20, 6), GaussianEvent(3.0, 0.01, 300, 40)],
)
def test_a_group_costs_what_the_library_finds_on_a_much_finer_grid(event: GaussianEvent) -> None:
    """The whole binomial law, nothing left out, at a grid sixteen times as fine: below, by about a thousandth."""
    z, rate, group = event.noise_multiplier, event.sample_rate, event.group
    chances = [
        math.comb(group, hits) * rate**hits * (1 - rate) ** (group - hits) for hits in range(group + 1)
    ]
    fine = pld.from_mixture_gaussian_mechanism(
        1.0, [hits / z for hits in range(group + 1)], chances, value_discretization_interval=2.0**-10
    )
    expected = fine.self_compose(event.count).get_epsilon_for_delta(1e-5)
    found = epsilon([event], 1e-5)
    assert expected - 1e-4 <= found <= expected * 1.003


@given(st.floats(1, 50), st.integers(1, 100), st.integers(1, 20), DELTAS)
def test_an_unsampled_group_is_a_smaller_noise_multiplier(
    z: float, count: int, group: int, delta: float
) -> None:
    grouped = epsilon([GaussianEvent(z, 1.0, count, group)], delta)
    assert grouped == pytest.approx(gaussian_epsilon(group * math.sqrt(count) / z, delta), rel=1e-9)


def test_a_group_that_is_nearly_always_sampled_whole_comes_to_group_privacy() -> None:
    """Continuity at q = 1: the mixture and the closed form are different code."""
    nearly = epsilon([GaussianEvent(20.0, 0.9999, 50, 2)], 1e-5)
    assert nearly == pytest.approx(epsilon([GaussianEvent(20.0, 1.0, 50, 2)], 1e-5), rel=0.01)


def test_every_further_contribution_costs_more() -> None:
    spent = [epsilon([GaussianEvent(10.0, 0.3, 50, group)], 1e-5) for group in (1, 2, 3, 5, 8)]
    assert spent == sorted(set(spent))


def test_groups_compose_with_everything_else() -> None:
    events = [GaussianEvent(2.0, 0.1, 50), GaussianEvent(5.0, 1.0, 2, 3), GaussianEvent(3.0, 0.1, 50, 2)]
    together, alone = epsilon(events, 1e-5), [epsilon([event], 1e-5) for event in events]
    assert max(alone) < together < sum(alone) * 1.2
    assert together <= cross_check(events, 1e-5)["rdp"]  # type: ignore[operator]
    tiny = [GaussianEvent(1.0, 1.0, 1, 20), GaussianEvent(1.0, 0.1, 1, 2)]
    assert epsilon(tiny, 1e-5) >= epsilon(tiny[:1], 1e-5)


@pytest.mark.parametrize(
    "event",
    [
        GaussianEvent(2.179, 0.1, 200, 100),
        GaussianEvent(5.0, 0.001, 200, 1000),
        GaussianEvent(0.1, 0.5, 10**5, 2),
        GaussianEvent(1e6, 1e-6, 1, 2),
        GaussianEvent(140.0, 1e-4, 2, 500),
    ],
)
def test_the_worst_case_of_many_sites_is_bounded_in_seconds_and_by_no_more_than_without_sampling(
    event: GaussianEvent,
) -> None:
    epsilon([GaussianEvent(1.0, 0.1, 1, 2)], 1e-5)  # imports the library
    start = time.process_time()
    found = epsilon([event], 1e-5)
    assert time.process_time() - start < 10
    assert 0 <= found <= epsilon([replace(event, sample_rate=1.0)], 1e-5) * (1 + 1e-9)


def test_to_replace_a_unit_is_twice_the_sensitivity() -> None:
    """DP-7: replace-one uses 2C; 28.37 for z = 2 and 20 releases, where the library's RDP says 12.3."""
    event = GaussianEvent(2.0, 1.0, 20)
    assert replacing([event], 1e-5) == pytest.approx(28.37, abs=0.01)
    assert replacing([event], 1e-5) == epsilon([GaussianEvent(1.0, 1.0, 20)], 1e-5)
    assert epsilon([event], 1e-5) < 12
    assert replacing([], 1e-5) == 0.0
    assert replacing([NonPrivateEvent()], 1e-5) == math.inf


@given(st.floats(1, 20), st.floats(0.05, 0.9), st.integers(1, 50))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_to_replace_a_sampled_unit_costs_more_than_one_of_the_two_and_at_most_what_it_costs_unsampled(
    z: float, rate: float, count: int
) -> None:
    """DP-7: the exact curve of one against the other, for one release, is below what is answered."""
    event = GaussianEvent(z, rate, count)
    found = replacing([event], 1e-5)
    assert epsilon([event], 1e-5) <= found <= epsilon([GaussianEvent(z / 2, 1.0, count)], 1e-5) + 1e-9
    x = np.linspace(-40 * z, 40 * z, 200_001)
    there, back = ((1 - rate) * norm.pdf(x, 0, z) + rate * norm.pdf(x, shift, z) for shift in (1, -1))
    answer = replacing([replace(event, count=1)], 1e-5)
    exact = np.sum(np.maximum(0, there - math.exp(answer) * back)) * (x[1] - x[0])
    assert exact <= 1e-5 * (1 + 1e-6)


@pytest.mark.parametrize(
    ("runs", "shape", "expected"), [(10, math.inf, 2.29), (10, 1, 2.14), (10, 0, 1.78), (30, math.inf, 4.40)]
)
def test_to_charge_every_run_covers_releasing_only_the_best_of_them(
    runs: int, shape: float, expected: float
) -> None:
    """DP-11: tuning costs what all its runs cost, which is more than selection over a random number of them.

    The library's figures: a number of runs that is Poisson, geometric or logarithmic with this mean.
    """
    z, rate, steps, delta = 2.0, 0.02, 500, 1e-5
    run = dp_event.SelfComposedDpEvent(
        dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(z)), steps
    )
    found = []
    for event in (dp_event.RepeatAndSelectDpEvent(run, float(runs), shape), run):
        accountant = rdp.RdpAccountant()
        accountant.compose(event)
        found.append(accountant.get_epsilon(delta))
    assert found == [pytest.approx(expected, abs=0.005), pytest.approx(1.02, abs=0.01)]
    assert epsilon(runs * [GaussianEvent(z, rate, steps)], delta) > found[0]


def test_an_unknown_event_is_refused() -> None:
    unknown: Any = "laplace"
    with pytest.raises(UnsupportedEvent):
        epsilon([unknown], 1e-5)


def test_the_library_is_imported_only_when_needed() -> None:
    code = (
        "import sys, privacy.accounting.pld as a, privacy.accounting.calibration;"
        "import privacy.accounting.filters, privacy.accounting.events as e;"
        "a.epsilon([e.GaussianEvent(2.0, 1.0, 10)], 1e-5);"
        "sys.exit('dp_accounting' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
