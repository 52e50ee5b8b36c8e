"""What an opened sum may be: honest sites never go beyond it, whatever their data are; who sends the most does."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from clients.training.work import Trainer, contribution
from federation.kinds.allowed import FAILURE, Span, Unlikely, unlikely
from federation.kinds.updates import farthest
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan
from federation.round.terms import Terms
from privacy.mechanism.clipping import into_ball
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import SIGMA, Stream, discrete_gaussian
from tests.clients.sites import SIZES, key_of, make_params, make_plan, make_terms

NAMES = tuple(sorted(SIZES))
NOISES = ("site", "distributed", "central", "none")
CASES = [
    *((unit, noise, {}) for unit in ("record", "client") for noise in NOISES),
    ("patient", "distributed", {}),
    ("record", "site", {"local_steps": 4, "learning_rate": 3.0}),
    ("record", "site", {"local_steps": 4, "optimizer": "adam"}),
    ("record", "site", {"local_steps": 4, "optimizer": "rmsprop", "learning_rate": 0.05}),
    (
        "record",
        "site",
        {"local_steps": 4, "optimizer": "adamw", "learning_rate": 0.5, "training.weight_decay": 1.5},
    ),
    ("record", "site", {"local_steps": 4, "learning_rate": 3.0, "training.momentum": 0.9}),
    ("record", "site", {"local_steps": 4, "learning_rate": 0.5, "training.proximal": 1.5}),
    ("record", "site", {"weights": "declared"}),
    ("client", "distributed", {"weights": "declared", "local_steps": 3}),
]
IDS = ["-".join([unit, noise, *(str(value) for value in changes.values())]) for unit, noise, changes in CASES]


def worst_data(plan: Plan, seed: int) -> Dataset:
    """Ten times the records that are declared, all alike, so that their gradients add up."""
    features = torch.full((400, 2), 50.0 * (-1) ** seed)
    patients = torch.arange(400) if plan.privacy.unit == "patient" else None
    return Dataset(features, torch.full((400,), seed % 2), patients)


def ring_sum(terms: Terms, vectors: Iterator[RingVector] | list[RingVector]) -> RingVector:
    total = np.zeros(terms.length, np.uint64)
    for vector in vectors:
        total += vector
    return total & np.uint64((1 << terms.codec.ring_bits) - 1)


def judged(terms: Terms, total: RingVector, seed: int = 0) -> Unlikely | None:
    released = terms.kind.released(terms.parties, total, Stream(key_of("server", seed)))
    return unlikely(released, terms.kind.allowed(terms.parties, NAMES))


def sent(terms: Terms, plan: Plan, site: str, seed: int) -> RingVector:
    stream = Stream(key_of(site, seed))
    trainer = Trainer(build_task(plan), worst_data(plan, seed), lambda _: stream)
    return contribution(terms, site, make_params(terms.dimension), trainer)


@pytest.mark.parametrize(("unit", "noise", "changes"), CASES, ids=IDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_data_take_honest_sites_beyond_it_and_the_largest_element_of_the_ring_does(
    unit: str, noise: str, changes: dict[str, object], seed: int
) -> None:
    """The site that cheats is one of three; the others send what is honest, against it or with it."""
    plan = make_plan(unit, noise, **changes)
    terms = make_terms(plan)
    vectors = [sent(terms, plan, site, seed) for site in NAMES]
    assert judged(terms, ring_sum(terms, vectors), seed) is None
    largest = np.full(terms.length, (1 << (terms.codec.ring_bits - 1)) - 1, np.uint64)
    found = judged(terms, ring_sum(terms, [largest, *vectors[1:]]), seed)
    if noise == "none":  # without clipping the ring itself is the bound, and wraps
        assert found is None or found.ratio < 2
    else:
        assert found is not None and found.ratio > 1.1


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("unit", "noise"), [("record", "distributed"), ("client", "central")])
def test_a_sum_on_the_edge_is_let_through_and_one_just_beyond_is_not(
    unit: str, noise: str, sign: int
) -> None:
    """The control of the test above, without noise: the limit is where the proof has it."""
    terms = make_terms(make_plan(unit, noise))
    allowed = terms.kind.allowed(terms.parties, NAMES)
    one = torch.zeros(terms.length, dtype=torch.float64)
    one[2] = sign * allowed.highest
    assert unlikely(one, allowed) is None
    assert unlikely(1.001 * one, allowed) == Unlikely("coordinate", pytest.approx(1.001))  # type: ignore[arg-type]
    flat = torch.full_like(one, allowed.norm / math.sqrt(len(one)))
    if float(flat[0]) < allowed.highest:
        assert unlikely(flat, allowed) is None
        assert unlikely(1.001 * flat, allowed) == Unlikely("norm", pytest.approx(1.001))  # type: ignore[arg-type]


def test_a_small_site_gives_less_room_than_a_large_one() -> None:
    plan = make_plan("record", "distributed")
    spans = {site: make_terms(plan).kind.span(make_terms(plan).parties, [site]) for site in SIZES}
    assert spans["berlin"].norm < spans["cleveland"].norm < spans["amsterdam"].norm
    assert spans["berlin"].norm == pytest.approx(24 * 0.5, rel=0.01)


def figures(right: float, wrong: float, loss: float) -> Unlikely | None:
    """What is wrong with an evaluation of three sites of together 94 records, almost without noise."""
    plan = make_plan("record", "central")
    rules = plan.evaluation.model_copy(update={"epsilon": 90.0})
    kind = plan.model_copy(update={"evaluation": rules}).figures
    assert kind is not None
    allowed = kind.allowed(make_terms(plan).parties, NAMES)
    return unlikely(torch.tensor([right, wrong, loss], dtype=torch.float64), allowed)


def test_counts_of_an_evaluation_are_neither_negative_nor_more_than_there_are_records() -> None:
    assert figures(50, 44, 20) is None
    assert figures(94, 0, 94) is None
    assert figures(-1, 0.5, 0.5) is None  # the noise alone can do that
    for wrong in [(-20, 50, 20), (50, -20, 20), (50, 44, -20), (160, 0, 0), (90, 90, 90)]:
        assert figures(*wrong) is not None, wrong


@pytest.mark.parametrize("length", [1, 6, 650, 100_000])
@pytest.mark.parametrize("rounds", [1, 200])
def test_the_tail_is_that_of_the_noise_and_hardly_above_it(length: int, rounds: int) -> None:
    """Against the exact quantiles of a Gaussian and of its norm: never below, at most 15 % above."""
    allowed = Span.around(0.0, 0.0).noised(1.0).allowed(length, rounds)
    exact = stats.norm.isf(FAILURE / (4 * rounds * length))
    assert exact <= allowed.highest <= 1.15 * exact
    norm = math.sqrt(stats.chi2.isf(FAILURE / (2 * rounds), length))
    assert norm <= allowed.norm <= 1.15 * norm


def test_the_noise_itself_stays_within_half_of_its_tail_and_reaches_a_quarter() -> None:
    """10^6 draws of three shares: 5 deviations are expected of the largest, 8 are allowed."""
    draws = sum(discrete_gaussian(Stream(key_of("tail", share)), 1_000_000) for share in range(3))
    deviation = math.sqrt(3) * SIGMA
    allowed = Span.around(0.0, 0.0).noised(deviation).allowed(1_000_000, 1)
    most = float(np.abs(draws).max())
    assert 0.4 * allowed.highest < most < 0.7 * allowed.highest
    assert 0.95 * allowed.norm < float(np.linalg.norm(draws.astype(float))) < allowed.norm


@settings(max_examples=60, deadline=None)
@given(
    gradients=st.lists(
        st.floats(-1e6, 1e6).filter(lambda g: g == 0 or abs(g) > 1e-3), min_size=1, max_size=12
    ),
    name=st.sampled_from(["adam", "rmsprop"]),
)
def test_no_gradients_move_an_adaptive_optimizer_farther(gradients: list[float], name: str) -> None:
    assert moved(name, gradients) <= farthest(name, len(gradients)) * (1 + 1e-9)


def test_some_gradients_move_it_nearly_as_far() -> None:
    """The control: bounds that are far too wide would let a bad site do far too much."""
    growing = [10.0 ** (2 * number) for number in range(6)]
    assert moved("rmsprop", growing) >= 0.95 * farthest("rmsprop", 6)
    assert moved("adam", [1.0] * 6) >= 0.95 * 6  # 6.1 is the bound


def moved(name: str, gradients: list[float]) -> float:
    position = torch.zeros(1, dtype=torch.float64)
    kind = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}[name]
    optimizer = kind([position], lr=1.0)
    for gradient in gradients:
        position.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
    return float(position.abs())


vectors = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


@settings(max_examples=200, deadline=None)
@given(one=vectors, other=vectors, radius=st.floats(1e-3, 1e3))
def test_the_ball_moves_no_two_vectors_apart(one: Tensor, other: Tensor, radius: float) -> None:
    before, after = (one - other).norm(), (into_ball(one, radius) - into_ball(other, radius)).norm()
    assert float(after) <= float(before) + 2.0**-50 * radius
    assert float(into_ball(one, radius).norm()) <= radius * (1 + 1e-15)
    if float(one.norm()) <= 0.99 * radius:
        assert torch.equal(into_ball(one, radius), one)
