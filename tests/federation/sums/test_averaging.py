"""The average of all rounds' params: as its formula says, exact at its ends, and what a run ends with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from federation.errors import InputError
from federation.plan.plan import Plan
from federation.sums.averaging import averaged
from federation.sums.state import ServerState, begin
from tests.worlds import plan_of, start

PARAMS = [torch.linspace(-1, 1, 7) * (number + 1) ** 0.5 + number for number in range(12)]


def averages(decay: float) -> list[torch.Tensor]:
    """After each of `PARAMS`, from an average that has nothing to say yet."""
    found, average = [], torch.full((7,), 1e9, dtype=torch.float64)
    for steps, params in enumerate(PARAMS, 1):
        average = averaged(average, params, decay, steps)
        found.append(average)
    return found


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.95, 0.999])
def test_newer_params_count_more_by_the_decay_and_all_weights_are_one(decay: float) -> None:
    for steps, average in enumerate(averages(decay), 1):
        weights = np.array([decay ** (steps - at) for at in range(1, steps + 1)])
        expected = sum(w * p.double().numpy() for w, p in zip(weights, PARAMS, strict=False)) / weights.sum()
        assert np.allclose(average.numpy(), expected, rtol=1e-12)


def test_the_first_average_and_every_one_without_decay_are_the_params_exactly() -> None:
    assert torch.equal(averages(0.95)[0], PARAMS[0].double())
    assert all(torch.equal(a, p.double()) for a, p in zip(averages(0.0), PARAMS, strict=True))


def state_of(plan: Plan) -> ServerState:
    return begin(plan, bytes(16), start(plan))


def test_a_run_ends_with_its_average_and_without_one_with_its_params() -> None:
    average = torch.arange(start(plan_of()).numel(), dtype=torch.float64) / 3
    state = replace(state_of(plan_of({"server.iterate_average": 0.9})), average=average)
    done = state.concluded()
    assert torch.equal(state.model, average.float())
    assert torch.equal(done.params, state.model) and done.average is None
    assert torch.equal(done.concluded().model, state.model), "a second time changes nothing"
    assert state.params is not done.params, "the sites go on from where they were"
    plain = state_of(plan_of())
    assert plain.average is None and plain.model is plain.params


def test_a_run_without_any_sum_ends_with_what_it_began_with() -> None:
    state = state_of(plan_of({"server.iterate_average": 0.9}))
    assert torch.equal(state.model, state.params)


def test_a_plan_that_does_not_average_keeps_its_digest() -> None:
    assert b"iterate_average" not in plan_of().canonical()
    assert b'"iterate_average":0.95' in plan_of({"server.iterate_average": 0.95}).canonical()


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, "0.9", True])
def test_a_decay_that_is_none_is_refused(decay: object) -> None:
    with pytest.raises(InputError, match="iterate_average"):
        plan_of({"server.iterate_average": decay})
