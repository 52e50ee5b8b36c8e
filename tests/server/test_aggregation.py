"""From the sum to the mean delta: the arithmetic of every kind of plan, and the scale of central noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from clients.training.work import Trainer, contribution
from federation.model.task import Dataset, build_task
from federation.round.messages import Member
from federation.round.terms import Terms
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import SIGMA, Stream
from privacy.wire import digest
from tests.worlds import mean_delta, plan_of, start, terms_for

MEMBERS = (Member("ash", 40), Member("birch", 20), Member("cedar", 100))
NAMES = ("ash", "birch", "cedar")


def stream(number: int = 1) -> Stream:
    return Stream(number.to_bytes(32, "big"))


def ring_sum(terms: Terms, vectors: list[Tensor]) -> RingVector:
    """What the secure sum opens."""
    total = np.zeros(terms.dimension, np.uint64)
    for vector in vectors:
        total += terms.codec.to_ring(terms.codec.encode(vector))
    return total & np.uint64((1 << terms.codec.ring_bits) - 1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), survivors=st.sampled_from([NAMES, NAMES[:2], NAMES[1:]]))
def test_updates_are_averaged_over_the_survivors_and_nobody_else(
    seed: int, survivors: tuple[str, ...]
) -> None:
    terms = terms_for(plan_of(), MEMBERS, torch.zeros(6))
    vectors = list(torch.randn(len(survivors), 6, generator=torch.Generator().manual_seed(seed)).double())
    mean = mean_delta(terms, ring_sum(terms, vectors), survivors, stream())
    assert torch.allclose(mean, torch.stack(vectors).mean(dim=0), atol=terms.codec.step)


def test_declared_weights_make_a_weighted_mean() -> None:
    terms = terms_for(plan_of(weights="declared"), MEMBERS, torch.zeros(2))
    deltas = {"ash": torch.tensor([1.0, 2.0]), "cedar": torch.tensor([3.0, -2.0])}
    weighted = [delta * terms.kind.weight(terms.parties, site) for site, delta in deltas.items()]
    mean = mean_delta(terms, ring_sum(terms, weighted), ("ash", "cedar"), stream())
    by_hand = (40 * deltas["ash"] + 100 * deltas["cedar"]) / 140
    assert torch.allclose(mean, by_hand.double(), atol=1e-5)


def test_a_sum_of_gradients_is_one_step_down_their_mean_over_the_expected_batch() -> None:
    plan = plan_of({"server.learning_rate": 0.25}, noise="distributed", sample_rate=0.5, rounds=50)
    rate = plan.training.learning_rate
    terms = terms_for(plan, MEMBERS, torch.zeros(2))
    gradients = [torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])]
    mean = mean_delta(terms, ring_sum(terms, gradients), ("ash", "birch"), stream())
    expected = -rate * (gradients[0] + gradients[1]) / (0.5 * (40 + 20))
    assert torch.allclose(mean, expected.double(), atol=1e-4)


@pytest.mark.parametrize("noise", ["none", "site", "distributed"])
def test_the_server_adds_no_noise_unless_it_is_central(noise: str) -> None:
    terms = terms_for(plan_of(noise=noise, rounds=50), MEMBERS, torch.zeros(500))
    zeros = np.zeros(500, np.uint64)
    assert not mean_delta(terms, zeros, NAMES, stream()).any()


def chi_square(noise: Tensor, deviation: float) -> bool:
    """Whether the scale fits: two-sided, false alarms 1e-6 (and the key is fixed)."""
    statistic = float((noise / deviation).square().sum())
    return bool(chi2.ppf(5e-7, len(noise)) < statistic < chi2.ppf(1 - 5e-7, len(noise)))


def test_central_noise_has_the_multiplier_that_was_calibrated() -> None:
    """The sum of clipped gradients gets deviation z C (a little more: rounding to the grid counts as well)."""
    plan = plan_of(noise="central", sample_rate=0.5, rounds=50)
    dimension = 4000
    terms = terms_for(plan, MEMBERS, torch.zeros(dimension))
    mechanism = terms.mechanism
    assert mechanism is not None
    mean = mean_delta(terms, np.zeros(dimension, np.uint64), NAMES, stream())
    summed = -mean * (0.5 * 160) / plan.training.learning_rate
    assert chi_square(summed, SIGMA * mechanism.step)
    on_top = SIGMA * mechanism.step / mechanism.noise_multiplier
    assert 1.0 <= on_top <= 1.1  # clipping norm 1, rounding at most a tenth of it
    for wrong in (0.9, 1.1):  # the test can fail: a tenth too little or too much is seen
        assert not chi_square(summed, wrong * SIGMA * mechanism.step)


def test_central_noise_differs_from_round_to_round() -> None:
    terms = terms_for(plan_of(noise="central", rounds=50), MEMBERS, torch.zeros(20))
    zeros = np.zeros(20, np.uint64)
    first, again, other = (mean_delta(terms, zeros, NAMES, stream(number)) for number in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


NOISES: dict[str, tuple[str, str, dict[str, float]]] = {
    f"{unit}-{noise}": (unit, noise, {})
    for unit in ("record", "client")
    for noise in ("site", "distributed", "central")
} | {
    "momentum": ("record", "site", {"training.momentum": 0.9}),
    "fedprox": ("record", "site", {"training.proximal": 1.5}),
    "momentum and fedprox": ("record", "site", {"training.momentum": 0.5, "training.proximal": 0.7}),
}


@pytest.mark.parametrize("case", NOISES)
def test_the_variance_of_the_noise_is_known_before_anything_is_drawn(case: str) -> None:
    """Sites without records release noise alone: ten sums of a wide model, five standard errors."""
    unit, noise, changes = NOISES[case]
    steps = 3 if (unit, noise) == ("record", "site") else 1
    plan = plan_of(model="mlp", unit=unit, noise=noise, local_steps=steps, **changes)
    task, members = build_task(plan), tuple(Member(name, 40 + number) for number, name in enumerate("abcde"))
    params = start(plan)
    terms = terms_for(plan, members, params)
    empty = Dataset(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    drawn = []
    for draw in range(10):
        trainers = {
            member.site: Trainer(task, empty, lambda _, place=f"{draw}/{member.site}": stream_of(place))
            for member in members
        }
        total = np.zeros(terms.length, np.uint64)
        for site, trainer in trainers.items():
            total += contribution(terms, site, params, trainer)
        total &= np.uint64((1 << terms.codec.ring_bits) - 1)
        drawn.append(mean_delta(terms, total, tuple("abcde"), stream_of(f"{draw}/server")))
    values = torch.stack(drawn).flatten()
    assert len(values) >= 2400
    known = terms.kind.noise_variance(terms.parties, tuple("abcde"))
    error = known * (2 / len(values)) ** 0.5
    assert abs(float(values.square().mean()) - known) < 5 * error
    assert abs(float(values.square().mean()) - 2 * known) > 5 * error, "the failing control"


def stream_of(place: str) -> Stream:
    return Stream(digest("tests/aggregation", f"{place}".encode()))
