"""However many releases a plan makes, its epsilon is bounded in seconds, from above, and it says by what."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import pytest

from privacy.accounting import pld
from privacy.accounting.bounds import Mechanism, recount
from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.distributions import AT_ONCE
from privacy.accounting.events import GaussianEvent, NonPrivateEvent, ReplacedEvent
from privacy.accounting.pld import (
    COARSE,
    EXACT,
    RENYI,
    UNSAMPLED,
    accountant,
    epsilon,
    epsilon_by_round,
    rdp_epsilon,
)

DELTA = 1e-5
MANY = [
    GaussianEvent(13.928, 0.01, 10**6),
    GaussianEvent(139.0, 0.1, 10**6),
    GaussianEvent(1.154, 0.01, 10**6),
    GaussianEvent(140.0, 0.01, 10**8),
    GaussianEvent(0.5, 1e-6, 10**6),
    GaussianEvent(1e4, 0.5, 10**6),
    GaussianEvent(30.0, 0.01, 10**6, 3),
]


@pytest.mark.parametrize("event", MANY)
def test_very_many_releases_are_bounded_from_above_in_seconds(event: GaussianEvent) -> None:
    epsilon([GaussianEvent(1.0, 0.1, 2)], DELTA)  # imports the library
    start = time.process_time()
    found = epsilon([event], DELTA)
    assert time.process_time() - start < 5
    bounds = recount([Mechanism(event.noise_multiplier, event.sample_rate, event.count, event.group)], DELTA)
    assert bounds.lower <= found <= rdp_epsilon([event], DELTA) * (1 + 1e-6)
    assert accountant([event], DELTA) in (EXACT, COARSE, RENYI)


@pytest.mark.parametrize("count", [AT_ONCE, AT_ONCE + 1, 10**6, 10**7])
def test_a_coarser_grid_costs_about_a_percent(count: int) -> None:
    z = 5.1 * math.sqrt(count / AT_ONCE)
    event = GaussianEvent(z, 0.01, count)
    assert accountant([event], DELTA) == (EXACT if count < 10**6 else COARSE)
    bounds = recount([Mechanism(z, 0.01, count)], DELTA)
    assert bounds.lower <= epsilon([event], DELTA) <= 1.01 * bounds.upper


def test_one_release_of_very_many_losses_is_looked_at_more_coarsely() -> None:
    """Seldom sampled, with little noise: losses from nothing to 12, most of which never happen."""
    event = GaussianEvent(0.4, 1e-6, 10**5)
    assert accountant([event], DELTA) == COARSE
    bounds = recount([Mechanism(0.4, 1e-6, 10**5)], DELTA)
    assert bounds.lower <= epsilon([event], DELTA) <= 1.05 * bounds.upper + 1e-3


@pytest.mark.parametrize("count", [10_000, 73_490, AT_ONCE, AT_ONCE + 1])
@pytest.mark.parametrize("delta", [1e-10, 1e-9, 1.18e-8])
def test_rounding_hides_nothing_of_a_small_delta(count: int, delta: float) -> None:
    """Below the number that is composed at once, too: 17.40 was claimed where at least 17.51 was spent."""
    z, rate = 0.3, 1.1661717603204465e-05
    bounds = recount([Mechanism(z, rate, count)], delta)
    assert bounds.lower <= epsilon([GaussianEvent(z, rate, count)], delta)


def test_where_rounding_could_show_there_is_no_grid() -> None:
    """A millionth of delta for each of a million releases is more than float64 keeps."""
    event = GaussianEvent(22.0, 0.01, 10**6)
    assert accountant([event], 1e-10) == RENYI
    assert epsilon([event], 1e-10) == pytest.approx(rdp_epsilon([event], 1e-10), rel=1e-6)
    grouped = GaussianEvent(60.0, 0.01, 10**6, 2)
    assert accountant([grouped], 1e-10) in (RENYI, UNSAMPLED)


def test_the_name_says_what_the_number_is() -> None:
    assert accountant([GaussianEvent(1.0, 0.1, 200)], DELTA) == EXACT
    assert accountant([GaussianEvent(1.0, 1.0, 10**9)], DELTA) == EXACT
    assert accountant([ReplacedEvent(1.0, 0.1, 200)], DELTA) == EXACT
    assert accountant([GaussianEvent(0.3, 0.9, 1000)], DELTA) in (RENYI, UNSAMPLED)
    assert accountant([], DELTA) == accountant([NonPrivateEvent()], DELTA) == EXACT
    assert EXACT == "pld"
    assert all("upper bound" in name for name in (COARSE, RENYI, UNSAMPLED))


@pytest.mark.parametrize(
    ("event", "rounds"),
    [
        (GaussianEvent(13.928, 0.01, 1), 10**6),
        (GaussianEvent(1.566, 0.01, 1), 10_007),
        (GaussianEvent(19.7, 1.0, 1), 10**6),
        (GaussianEvent(47.3, 0.001, 10**4), 10**5),
        (GaussianEvent(0.3, 0.9, 1), 5000),
    ],
)
def test_a_long_curve_is_thinned_and_bounds_every_round_between(event: GaussianEvent, rounds: int) -> None:
    start = time.process_time()
    curve = epsilon_by_round(event, rounds, DELTA)
    assert time.process_time() - start < 10
    assert 40 <= len(curve) <= 60
    assert next(iter(curve)) == 1 and next(reversed(curve)) == rounds
    assert all(one < other for one, other in pairwise(curve))
    assert list(curve.values()) == sorted(curve.values())
    whole = GaussianEvent(event.noise_multiplier, event.sample_rate, event.count * rounds)
    assert curve[rounds] == epsilon([whole], DELTA)
    for done in list(curve)[:: len(curve) // 3]:
        part = Mechanism(event.noise_multiplier, event.sample_rate, event.count * done)
        assert recount([part], DELTA).lower <= curve[done] * (1 + 1e-9)


def test_up_to_a_thousand_rounds_every_one_is_listed() -> None:
    for rounds, listed in ((1, 1), (999, 999), (1000, 1000), (1001, 49)):
        assert len(epsilon_by_round(GaussianEvent(40.0, 1.0, 1), rounds, DELTA)) == pytest.approx(
            listed, abs=3
        )


@pytest.mark.parametrize(
    "asked",
    [
        (3.0, 1e-5, 0.1, 200),
        (1.0, 1e-5, 1e-4, 3000),
        (0.01, 1e-5, 0.1, 100),
        (100.0, 1e-5, 0.5, 300),
        (3.0, 1e-5, 0.01, 10**6),
    ],
)
def test_calibration_asks_a_dozen_times_at_most(
    asked: tuple[float, float, float, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = [], pld.epsilon

    def counted(events: list[GaussianEvent], delta: float) -> float:
        calls.append(events)
        return real(events, delta)

    monkeypatch.setattr(pld, "epsilon", counted)
    target, delta, rate, count = asked
    z = noise_multiplier.__wrapped__(target, delta, rate, count)
    assert len(calls) <= 12
    assert real([GaussianEvent(z, rate, count)], delta) <= target
    assert real([GaussianEvent(z - 1e-3, rate, count)], delta) > target


def test_a_million_rounds_are_calibrated_by_the_accountant_that_reports_them() -> None:
    z = noise_multiplier(3.0, DELTA, 0.01, 10**6)
    bounds = recount([Mechanism(z, 0.01, 10**6)], DELTA)
    assert bounds.lower <= epsilon([GaussianEvent(z, 0.01, 10**6)], DELTA) <= 3.0
    assert math.isclose(bounds.upper, 3.0, rel_tol=0.02)
