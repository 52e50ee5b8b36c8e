"""Figures of a noised table: those of the records, within what noise and bins do to them."""

from __future__ import annotations

from statistics import fmean, pstdev

import numpy as np
import pytest

from federation.plan.plan import parse
from federation.sums.tables import deviation_of, tables
from tests.federation.plan.tallies.test_tasks import STATISTICS

PLAN = parse(STATISTICS.replace("bins = 4", "bins = 40"))
_BINS = 40


def _counts(ages: list[float]) -> list[float]:
    found = [0.0] * PLAN.task.inputs  # type: ignore[union-attr]
    for age in ages:
        found[min(_BINS - 1, int(age / 80 * _BINS))] += 1
    found[2 * (_BINS + 1)] = float(len(ages))  # all are women
    return found


def test_figures_are_those_of_the_records_within_their_intervals() -> None:
    draws = np.random.default_rng(3)  # noqa: TID251  made-up records and noise of a test
    ages = [min(79.9, max(0.0, draws.normal(45, 12))) for _ in range(40_000)]
    noise = deviation_of(PLAN, PLAN.task.inputs, 5, 5, 0)  # type: ignore[union-attr]
    noised = [count + draws.normal(0, noise) for count in _counts(ages)]
    told = tables(PLAN, noised, 5, 5)
    assert told is not None
    age = told["columns"]["age"]
    exact = {"mean": fmean(ages), "deviation": pstdev(ages)}
    for name, value in exact.items():
        assert age[name]["value"] == pytest.approx(value, abs=0.5)
        assert age[name]["low"] - 0.1 < value < age[name]["high"] + 0.1
    ranked = sorted(ages)
    for share, one in age["quantiles"].items():
        assert one["low"] <= one["value"] <= one["high"]
        assert one["value"] == pytest.approx(ranked[int(float(share) * len(ranked))], abs=4)
    assert told["columns"]["sex"]["records"]["value"] == pytest.approx(40_000, abs=200)


def test_what_the_noise_hides_is_not_told() -> None:
    told = tables(PLAN, [1.0] * PLAN.task.inputs, 5, 5)  # type: ignore[union-attr]
    assert told is not None
    assert told["columns"]["age"]["mean"] is None
    assert told["columns"]["age"]["quantiles"] == {}


def test_without_a_sum_there_is_no_table() -> None:
    assert tables(PLAN, [0.0] * PLAN.task.inputs, 5, 0) is None  # type: ignore[union-attr]
