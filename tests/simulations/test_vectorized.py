"""Rounds without messages: the protocol's very sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from clients.training.work import Trainer
from federation.round.parts import Sum
from federation.round.terms import Terms
from federation.sums.state import begin
from privacy.errors import BudgetExceeded
from server.run import server_stream
from simulations.vectorized import run_vectorized
from simulations.world import InProcess
from tests.worlds import by_hand, close, contribute, opened, plan_of, rounds_of, start

RUN = bytes(range(16))


def test_the_params_are_those_worked_out_on_paper(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (world, sites):
        trainers = {name: site.load(plan) for name, site in sites.items()}
        state = begin(plan, RUN, start(plan))
        done = list(run_vectorized(plan, state, world.members, contribute(trainers), server_stream))
    names = ("ash", "birch", "cedar")
    assert close(done[-1][0].params, by_hand(plan, world.training, [names] * 3))
    assert [(report.round, report.cohort, report.survivors) for _, report in done] == [
        (number, names, names) for number in (1, 2, 3)
    ]


def test_every_round_s_params_are_the_protocol_s_to_the_bit(tmp_path: Path) -> None:
    plan = plan_of(sample_rate=0.5, local_steps=3, weights="declared")
    with opened(plan, tmp_path, 4) as (world, sites):
        trainers: dict[str, Trainer] = {name: site.load(plan) for name, site in sites.items()}
        state = begin(plan, RUN, start(plan))
        bare = list(run_vectorized(plan, state, world.members, contribute(trainers), server_stream))
        network = InProcess({name: site.receive for name, site in sites.items()})
        real = list(rounds_of(world, network, state))
    for (one, report), (other, reference) in zip(bare, real, strict=True):
        assert torch.equal(one.params, other.params)
        assert report.params_after == reference.params_after


def test_a_sum_that_wraps_around_64_bits_is_still_the_sum(tmp_path: Path) -> None:
    """Negative contributions are large residues; what is above the ring's bits must not matter."""
    plan = plan_of(rounds=1)

    def negative(terms: Terms, params: Tensor) -> Sum:
        residues = terms.codec.to_ring(np.full(terms.dimension, -1000, np.int64))
        high = np.uint64((2**64 - 2**60) & ~((1 << terms.codec.ring_bits) - 1))
        total = sum(residues + high for _ in terms.members)
        return Sum(terms, total, terms.parameters.members)

    with opened(plan, tmp_path) as (world, _):
        state = begin(plan, RUN, start(plan))
        ((after, _),) = run_vectorized(plan, state, world.members, negative, server_stream)
    moved = after.params - state.params
    assert torch.allclose(moved, torch.full_like(moved, -1000 * 16 / 2**23), rtol=1e-3)


def test_a_site_s_refusal_keeps_its_own_words(tmp_path: Path) -> None:
    def refuse(*_: object) -> Sum:
        raise BudgetExceeded("spent")

    plan = plan_of()
    with opened(plan, tmp_path) as (world, _), pytest.raises(BudgetExceeded, match="spent"):
        next(run_vectorized(plan, begin(plan, RUN, start(plan)), world.members, refuse, server_stream))


@pytest.mark.parametrize("changes", [{}, {"unit": "client", "local_steps": 2}], ids=["sums", "updates"])
def test_classes_weigh_the_same_in_vectors_and_in_the_protocol(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    plans = [
        plan_of({"task.class_weights": weights}, sample_rate=0.5, **changes)
        for weights in ({"yes": 9.0}, {"no": 1.0})
    ]
    params = []
    for plan in plans:
        with opened(plan, tmp_path / str(len(params)), 4) as (world, sites):
            trainers: dict[str, Trainer] = {name: site.load(plan) for name, site in sites.items()}
            state = begin(plan, RUN, start(plan))
            bare = list(run_vectorized(plan, state, world.members, contribute(trainers), server_stream))
            network = InProcess({name: site.receive for name, site in sites.items()})
            real = list(rounds_of(world, network, state))
        assert torch.equal(bare[-1][0].params, real[-1][0].params)
        params.append(bare[-1][0].params)
    assert not torch.allclose(params[0], params[1], atol=1e-3)


def test_curves_and_crosses_are_trained_alike_by_both_engines(tmp_path: Path) -> None:
    plan = plan_of({"task.model": "additive", "task.cross": [["age", "ward"]]})
    with opened(plan, tmp_path) as (world, sites):
        trainers: dict[str, Trainer] = {name: site.load(plan) for name, site in sites.items()}
        state = begin(plan, RUN, start(plan))
        assert len(state.params) == 2 * (8 + 8 + 3 + 8 * 3 + 1)
        bare = list(run_vectorized(plan, state, world.members, contribute(trainers), server_stream))
        network = InProcess({name: site.receive for name, site in sites.items()})
        real = list(rounds_of(world, network, state))
    assert torch.equal(bare[-1][0].params, real[-1][0].params)
