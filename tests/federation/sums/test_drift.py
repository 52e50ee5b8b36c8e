"""Drift: what noise alone makes of a param, exactly for linear rules, by play for the others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from federation.plan.plan import Plan
from federation.sums.averaging import averaged
from federation.sums.drift import Taken, deviation, drift
from federation.sums.state import optimizer
from tests.plans import plan_of

SIZES = {"ash": 100, "birch": 200, "cedar": 300, "dogwood": 400, "elm": 500}
ROUNDS = 40


def plan_with(rule: str, average: float | None = None, **more: object) -> Plan:
    named = {"server.optimizer": rule, "server.learning_rate": 0.1, "rounds": ROUNDS}
    return plan_of(named if average is None else {**named, "server.iterate_average": average}, more)


def test_the_noise_of_plain_averages_is_a_random_walk() -> None:
    assert drift(plan_with("average"), [4.0] * ROUNDS) == pytest.approx(0.1 * 2 * math.sqrt(ROUNDS))
    assert drift(plan_with("average"), []) == 0.0


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("rule", ["average", "momentum", "adagrad", "adam", "adam-bc", "yogi"])
def test_it_is_the_deviation_of_paths_of_noise(rule: str, average: float | None) -> None:
    plan, variances = plan_with(rule, average), np.linspace(0.5, 2, ROUNDS).tolist()
    generator = torch.Generator().manual_seed(1)
    params = torch.zeros(3000, dtype=torch.float64)
    steps, mean = optimizer(plan), params
    state = steps.init(params)
    for variance in variances:
        delta = math.sqrt(variance) * torch.randn(3000, generator=generator).double()
        state, params = steps.step(state, params, delta, variance)
        mean = averaged(mean, params, average or 0.0, state.steps)
    assert drift(plan, variances) == pytest.approx(float(mean.std()), rel=0.08)
    assert drift(plan, variances) == drift(plan, variances), "the same at every look"


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("rule", ["average", "momentum", "adam"])
@pytest.mark.parametrize("curvature", [0.01, 0.3, 3.0])
def test_records_that_pull_back_leave_less_of_the_noise(
    rule: str, average: float | None, curvature: float
) -> None:
    """A quadratic loss around 0: its deviation stays below what noise alone makes."""
    plan = plan_with(rule, average)
    params = torch.zeros(3000, dtype=torch.float64)
    steps, mean, generator = optimizer(plan), params, torch.Generator().manual_seed(2)
    state = steps.init(params)
    for _ in range(ROUNDS):
        delta = torch.randn(3000, generator=generator).double() - curvature * params
        state, params = steps.step(state, params, delta, 1.0)
        mean = averaged(mean, params, average or 0.0, state.steps)
    assert float(mean.std()) <= 1.05 * drift(plan, [1.0] * ROUNDS)


def test_who_took_part_says_how_much_noise_there_was() -> None:
    plan = plan_with("average")
    full = [Taken(SIZES, tuple(SIZES))] * ROUNDS
    fewer = [Taken(SIZES, ("birch", "cedar", "dogwood", "elm"))] * ROUNDS
    stayed = [Taken(SIZES, tuple(SIZES), excess_left=tuple(SIZES))] * ROUNDS
    found = [deviation(plan, rounds, 10) for rounds in (full, stayed)]
    assert None not in found and 0 < found[0] < found[1]  # type: ignore[operator]
    assert deviation(plan, fewer, 10) != found[0]


@pytest.mark.parametrize("noise", ["central", "site"])
def test_wherever_the_noise_is_it_is_counted(noise: str) -> None:
    found = deviation(plan_with("average", noise=noise), [Taken(SIZES, tuple(SIZES))] * ROUNDS, 10)
    assert found is not None and found > 0


def test_unknown_noise_has_no_deviation_and_no_noise_has_none_to_speak_of() -> None:
    rounds = [Taken(SIZES, tuple(SIZES))]
    assert deviation(plan_with("average", noise="none"), rounds, 10) == 0.0
    own = plan_with("adam", noise="site", **{"training.optimizer": "adam"})
    assert deviation(own, rounds, 10) is None
