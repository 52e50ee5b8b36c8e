"""The band is Student's, over seeds that are known; differences are taken seed by seed."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from simulations.tradeoff.bands import band, differences


@pytest.mark.parametrize(
    "values", [[0.8, 0.9], [0.7, 0.75, 0.9], [0.5] * 3 + [0.6], [1.0, -2.0, 3.0, 4.0, 5.5]]
)
def test_it_is_the_t_interval(values: list[float]) -> None:
    found = band(values)
    low, high = stats.t.interval(
        0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values)
    )
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["mean"] == pytest.approx(sum(values) / len(values))


def test_by_hand() -> None:
    found = band([0.80, 0.84, 0.88])  # sd .04, t(2) = 4.302653
    assert found["high"] - found["mean"] == pytest.approx(4.302653 * 0.04 / math.sqrt(3), rel=1e-6)


def test_what_is_not_known_is_left_out_and_told() -> None:
    assert band([None, None]) == {"mean": None, "low": None, "high": None, "n": 0, "values": [None, None]}
    one = band([0.5, None])
    assert (one["mean"], one["low"], one["high"], one["n"]) == (0.5, None, None, 1)
    assert band([0.5, math.nan])["n"] == 1
    assert band([0.5, 0.5])["low"] == band([0.5, 0.5])["high"] == 0.5


def test_differences_are_of_the_same_seed() -> None:
    found = differences([0.9, 0.5, None], [0.8, 0.4, 0.1])
    assert found["values"] == [pytest.approx(0.1), pytest.approx(0.1), None]
    assert found["high"] - found["low"] < 1e-9, "what both have of one seed cancels"
