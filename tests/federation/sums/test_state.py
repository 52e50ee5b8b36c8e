"""The state between two rounds: frozen, and moved on by one step of the plan's optimizer."""

from __future__ import annotations

import dataclasses
from unittest.mock import patch

import numpy as np
import pytest
import torch

from federation.round.messages import Member
from federation.round.parts import Sum
from federation.sums import state as states
from federation.sums.state import advance, begin, optimizer
from privacy.mechanism.noise import Stream
from tests.worlds import plan_of, start, terms_for

MEMBERS = (Member("ash", 40), Member("birch", 48), Member("cedar", 56))
NAMES = ("ash", "birch", "cedar")


def test_a_run_begins_with_no_round_done() -> None:
    plan = plan_of()
    params = start(plan)
    state = begin(plan, bytes(16), params)
    assert (state.round, state.attempt, state.run) == (0, 0, bytes(16))
    assert torch.equal(state.params, params)


def test_a_round_moves_the_params_by_the_mean_and_leaves_the_old_state_alone() -> None:
    plan = plan_of()
    params = start(plan)
    state, terms = begin(plan, bytes(16), params), terms_for(plan, MEMBERS, params)
    delta = torch.linspace(-1, 1, params.numel()).double()
    vector = terms.codec.to_ring(terms.codec.encode(delta))
    total = (3 * vector) & np.uint64((1 << terms.codec.ring_bits) - 1)
    after, found = advance(plan, state, [Sum(terms, total, NAMES)], Stream(bytes(32)))
    assert found is None
    assert (after.round, after.run, after.attempt) == (1, state.run, state.attempt)
    assert torch.allclose(after.params.double(), params.double() + delta, atol=1e-5)
    assert torch.equal(state.params, start(plan))
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.round = 5  # type: ignore[misc]


@pytest.mark.parametrize("rule", ["average", "momentum", "adagrad", "adam", "adam-bc", "yogi"])
def test_a_step_in_blocks_is_the_step_of_the_whole_to_the_last_bit(rule: str) -> None:
    """Three rounds, with the noise of a private plan: params, moments and their numbers."""
    plan = plan_of({"server.optimizer": rule, "noise": "central"})
    params = start(plan)
    terms = terms_for(plan, MEMBERS, params)
    assert params.numel() > 7
    ends = []
    for block in (2**20, 3):
        state = begin(plan, bytes(16), params)
        with patch.object(states, "_BLOCK", block):
            for number in range(3):
                total = np.arange(params.numel(), dtype=np.uint64) * np.uint64(1000 + number)
                state, _ = advance(plan, state, [Sum(terms, total, NAMES)], Stream(bytes([number]) * 32))
        ends.append(state)
    whole, parts = ends
    assert torch.equal(whole.params, parts.params) and not torch.equal(whole.params, params)
    assert whole.optimizer.steps == parts.optimizer.steps == 3
    assert whole.optimizer.moments.keys() == parts.optimizer.moments.keys()
    for name, moment in whole.optimizer.moments.items():
        assert torch.equal(moment, parts.optimizer.moments[name])


def test_the_plan_s_decay_reaches_the_optimizer() -> None:
    text_plan = plan_of({"server.optimizer": "adam"})
    rules = text_plan.server.model_copy(update={"beta1": 0.0, "tau": 1.0})
    changed = text_plan.model_copy(update={"server": rules})
    params, delta = torch.zeros(2), torch.tensor([1.0, -1.0], dtype=torch.float64)
    moved = [
        optimizer(plan).step(optimizer(plan).init(params), params, delta)[1] for plan in (text_plan, changed)
    ]
    assert not torch.allclose(moved[0], moved[1])
