"""Curves and the test against lifelines 0.30 on the arrests of Rossi et al. (432 people, 52 weeks)."""

from __future__ import annotations

import numpy as np
import pytest

from federation.plan.tallies.tasks import Curves
from federation.sums.lifetimes import lifetimes

# Arrests in each week, without and with financial aid; everybody else was seen until the end of the 52nd.
_ARRESTS = (
    (1, 1, 1, 1, 1, 1, 0, 2, 0, 1, 1, 0, 1, 2, 0, 1, 3, 2, 1, 1, 2, 0, 1, 2, 3, 3,
     2, 2, 0, 1, 1, 1, 2, 0, 1, 0, 2, 1, 1, 3, 0, 0, 4, 2, 1, 1, 1, 1, 2, 1, 0, 4),
    (0, 0, 0, 0, 0, 0, 1, 3, 2, 0, 1, 2, 0, 1, 2, 1, 0, 1, 1, 4, 0, 1, 0, 2, 0, 0,
     0, 0, 0, 1, 0, 1, 0, 2, 3, 3, 2, 0, 1, 1, 0, 2, 0, 0, 1, 3, 0, 1, 3, 2, 0, 0),
)  # fmt: skip
_SEEN = (150, 168)


def _task(ends: int = 52) -> Curves:
    bins = [52 / ends * (place + 1) for place in range(ends)]
    groups = {"fin": {"values": ["0", "1"]}}
    named = {"kind": "survival-curves", "target": "week", "event": "arrest"}
    return Curves.model_validate({**named, "bins": bins, "features": groups})


def _counts(ends: int = 52) -> list[float]:
    found: list[float] = []
    for arrests, seen in zip(_ARRESTS, _SEEN, strict=True):
        each = 52 // ends
        found += [x for at in range(0, 52, each) for x in (0, sum(arrests[at : at + each]))] + [seen]
    return found


def test_without_noise_curve_and_interval_are_those_of_kaplan_and_meier() -> None:
    told = lifetimes(_task(), _counts(), 0.0)["groups"]
    expected = {
        ("0", 20): (0.9027777778, 0.85479223, 0.93549999),
        ("0", 52): (0.6944444444, 0.62828831, 0.75119093),
        ("1", 40): (0.8333333333, 0.77656693, 0.87681942),
        ("1", 52): (0.7777777778, 0.71624378, 0.82758045),
    }
    for (group, week), figures in expected.items():
        point = told[group]["survival"][week - 1]
        assert (point["value"], point["low"], point["high"]) == pytest.approx(figures, abs=1e-7)


def test_without_noise_the_test_is_the_log_rank_test() -> None:
    found = lifetimes(_task(), _counts(), 0.0)["log_rank"]
    assert found["statistic"] == pytest.approx(3.837569576549052)
    assert found["p"] == pytest.approx(0.050116117409005845)
    assert found["noise"] == 0


def test_the_intervals_hold_as_often_as_they_say_with_the_noise_in_them() -> None:
    # The same people under other noise: chance does not vary, so intervals hold more often than 95 %.
    draws, deviation, runs = np.random.default_rng(7), 6.0, 300  # noqa: TID251  made-up records and noise of a test
    exact = lifetimes(_task(13), _counts(13), 0.0)["groups"]["1"]["survival"][9]["value"]
    values, inside, halves = [], 0, []
    for _ in range(runs):
        noised = [count + draws.normal(0, deviation) for count in _counts(13)]
        point = lifetimes(_task(13), noised, deviation)["groups"]["1"]["survival"][9]
        values.append(point["value"])
        halves.append((point["high"] - point["low"]) / 2)
        inside += point["low"] <= exact <= point["high"]
    spread = (sum((value - exact) ** 2 for value in values) / runs) ** 0.5
    assert inside / runs > 0.93
    assert spread < sum(halves) / runs / 1.96 * 1.1


def test_noise_alone_is_no_difference_between_groups() -> None:
    draws, deviation, runs = np.random.default_rng(8), 8.0, 300  # noqa: TID251  made-up records and noise of a test
    same = _counts(13)[:27] * 2
    found = [
        lifetimes(_task(13), [count + draws.normal(0, deviation) for count in same], deviation)["log_rank"]
        for _ in range(runs)
    ]
    told = [one for one in found if one is not None]  # else the noise hides a group
    assert len(told) > 0.9 * runs
    assert all(one["noise"] > 0.5 for one in told)
    assert sum(one["p"] < 0.05 for one in told) / len(told) < 0.09


def test_of_a_group_that_the_noise_hides_nothing_is_told() -> None:
    told = lifetimes(_task(13), [0.0] * 27 + _counts(13)[27:], 5.0)
    assert set(told["groups"]["0"]["survival"]) == {None}
    assert told["log_rank"] is None
