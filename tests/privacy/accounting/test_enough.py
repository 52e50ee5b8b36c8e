"""Noise that is found quickly is enough, by every accountant, and hardly more than a plan is given."""

from __future__ import annotations

import pytest

from privacy.accounting.bounds import Mechanism, recount
from privacy.accounting.enough import Search, costs, exactly
from privacy.errors import CalibrationFailed, UnsafeParameters

PLANS = [
    (3.0, 1e-5, 0.1, 20), (0.5, 1e-6, 0.02, 500), (8.0, 1e-5, 0.5, 50), (2.0, 1e-5, 1.0, 50),
    (40.0, 1e-5, 0.3, 10), (90.0, 1e-3, 0.001, 1),
]  # fmt: skip


def test_it_is_enough_and_hardly_more_than_the_calibration_finds() -> None:
    """One search after the other: what it learned of one plan may lead it astray with the next, and no further."""
    search = Search()
    for epsilon, delta, rate, count in PLANS:
        found, real = search.enough(epsilon, delta, rate, count), exactly(epsilon, delta, rate, count)
        assert real.noise_multiplier <= found.noise_multiplier <= real.noise_multiplier * 1.01 + 0.001
        assert found.epsilon <= epsilon
        both = recount([Mechanism(found.noise_multiplier, rate, count)], delta)
        assert both.lower <= found.epsilon, "and what it is said to cost is no less than it does"
        assert found.is_exact == (rate == 1.0)


def test_what_given_noise_costs_is_no_less_than_the_truth() -> None:
    found = costs(1.5, 1e-5, 0.1, 100)
    both = recount([Mechanism(1.5, 0.1, 100)], 1e-5)
    assert both.lower <= found.epsilon <= both.upper * 1.01
    assert not found.is_exact


def test_what_cannot_be_reached_is_refused() -> None:
    with pytest.raises(CalibrationFailed):
        Search().enough(1e-4, 1e-10, 0.9, 10**9)
    with pytest.raises(UnsafeParameters):
        costs(0.01, 1e-5, 0.1, 100)
