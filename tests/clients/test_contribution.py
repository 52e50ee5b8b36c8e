"""What a contribution is under its noise, for every kind of plan; how much noise; bounds, sums, poison."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from clients.training.work import Trainer, contribution
from federation.kinds.updates import NoisedSteps
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan
from federation.round.terms import Terms
from privacy.mechanism.encoding import EncodingOverflow, Integers
from privacy.mechanism.gaussian import GaussianMechanism
from privacy.mechanism.noise import MAX_DRAW, SIGMA, Stream, discrete_gaussian
from privacy.secagg.ring import lane_type
from tests.clients.sites import (
    SIZES,
    batch_of,
    flat,
    key_of,
    keyed_trainer,
    loaded,
    make_data,
    make_params,
    make_plan,
    make_terms,
    sgd_by_torch,
)
from tests.clients.units import clipped_sum
from tests.worlds import mean_delta

FALSE_ALARM = 1e-6  # of each statistical test below; keys are fixed, so none ever flickers
SITE = "amsterdam"
NOISES = ["site", "distributed", "central"]
PRIVATE = [(unit, noise) for unit in ("record", "client") for noise in NOISES]
EVERY = [*PRIVATE, ("record", "none"), ("client", "none")]


def sent(terms: Terms, trainer: Trainer, site: str = SITE) -> Integers:
    """A contribution as the integers it stands for."""
    vector = contribution(terms, site, make_params(terms.dimension), trainer)
    return terms.codec.from_ring(vector)


def noise_of(key: bytes, size: int) -> Integers:
    """The noise that a stream with this key gives, drawn a second time."""
    return discrete_gaussian(Stream(key).derive("noise"), size)


def mechanism_of(terms: Terms) -> GaussianMechanism:
    assert terms.mechanism is not None
    return terms.mechanism


# What the contribution is, for every row of the module's table.


@pytest.mark.parametrize("noise", ["distributed", "central"])
@pytest.mark.parametrize("rate", [1.0, 0.37])  # not one over a whole number: no sampler may round it
def test_a_site_sends_the_clipped_gradients_of_its_batch_and_its_share_of_noise(
    noise: str, rate: float
) -> None:
    # 12 releases, as in the next test: one calibration for both.
    plan = make_plan("record", noise, rounds=12, sample_rate=rate, clipping_norm=0.3)
    key = key_of(noise, rate)
    terms, data = make_terms(plan), make_data(40, 1)
    batch = batch_of(data, rate, Stream(key).derive("batches"))
    expected = clipped_sum(loaded(build_task(plan), make_params(), torch.float64), batch, 0.3)
    bare = sent(terms, keyed_trainer(plan, data, key))
    if noise == "distributed":
        bare = bare - noise_of(key, terms.dimension)
    assert np.abs(bare - expected.numpy() / mechanism_of(terms).step).max() <= 0.501  # half a grid unit


@pytest.mark.parametrize("weights", ["uniform", "declared"])
def test_a_site_that_noises_each_step_sends_the_delta_of_its_dp_sgd(weights: str) -> None:
    plan = make_plan("record", "site", local_steps=3, sample_rate=0.37, learning_rate=0.2, weights=weights)
    key, site = key_of("steps"), "berlin"
    terms, data = make_terms(plan), make_data(SIZES[site], 1)
    mechanism, codec = mechanism_of(terms), terms.kind.step_codec(terms.parties)
    model = loaded(build_task(plan), make_params(), torch.float64)
    batches, noise, start = Stream(key).derive("batches"), Stream(key).derive("noise"), flat(model)
    for _ in range(3):
        total = clipped_sum(model, batch_of(data, 0.37, batches), 0.5) / codec.step
        noised = (np.round(total.numpy()) + discrete_gaussian(noise, terms.dimension)) * codec.step
        moved = flat(model) - 0.2 * torch.from_numpy(noised) / (0.37 * SIZES[site])
        torch.nn.utils.vector_to_parameters(moved, model.parameters())
    assert mechanism.shares == 1
    weight = 1.0 if weights == "uniform" else SIZES[site] / SIZES["amsterdam"]
    delta = terms.codec.decode(sent(terms, keyed_trainer(plan, data, key), site)) / weight
    # A sum that lies on the edge of two grid points may fall on either side: one grid unit in every step.
    tolerance = terms.codec.step + 3 * 0.2 * codec.step / (0.37 * SIZES[site])
    assert torch.allclose(delta, flat(model) - start, rtol=0, atol=tolerance)


@pytest.mark.parametrize("weights", ["uniform", "declared"])
@pytest.mark.parametrize("noise", NOISES)
def test_where_clients_are_protected_a_site_sends_its_clipped_and_weighted_delta(
    noise: str, weights: str
) -> None:
    plan = make_plan("client", noise, local_steps=4, clipping_norm=0.05, optimizer="adam", weights=weights)
    terms, key, site = make_terms(plan), key_of(noise), "berlin"
    data, mechanism = make_data(SIZES[site], 3), mechanism_of(terms)
    delta = sgd_by_torch(plan, data, make_params(), SIZES[site])
    assert float(delta.norm()) > 0.05  # so that the clip has something to do
    expected = delta * (0.05 / delta.norm()) * terms.kind.weight(terms.parties, site)
    bare = sent(terms, keyed_trainer(plan, data, key), site)
    if noise != "central":
        bare = bare - noise_of(key, terms.dimension)
    assert np.abs(bare - expected.numpy() / mechanism.step).max() * mechanism.step < 1e-4 * 0.05


@pytest.mark.parametrize("weights", ["uniform", "declared"])
@pytest.mark.parametrize("unit", ["record", "client"])
def test_without_privacy_a_site_sends_its_weighted_delta_and_no_noise(unit: str, weights: str) -> None:
    plan = make_plan(unit, "none", local_steps=3, weights=weights)
    terms, site = make_terms(plan), "cleveland"
    data = make_data(SIZES[site], 4)
    expected = sgd_by_torch(plan, data, make_params(), SIZES[site]) * terms.kind.weight(terms.parties, site)
    decoded = terms.codec.decode(sent(terms, keyed_trainer(plan, data, bytes(32)), site))
    assert torch.allclose(decoded, expected, rtol=1e-4, atol=2 * terms.codec.step)
    one = sent(terms, keyed_trainer(plan, data, bytes(32)), site)
    other = sent(terms, keyed_trainer(plan, data, key_of("another")), site)
    assert np.abs(one - other).max() <= 1  # the coins of the rounding are all that a stream decides


# Noise.


def residuals(plan: Plan, site: str = SITE) -> tuple[np.ndarray[Any, np.dtype[np.float64]], Terms]:
    """What 25 fixed keys add to one site's contribution, in the units of a clipped sum; everyone in the batch."""
    terms, data = make_terms(plan), make_data(SIZES[site], 5)
    model = loaded(build_task(plan), make_params(terms.dimension), torch.float64)
    norm = plan.privacy.clipping_norm or 0.0
    if plan.privacy.unit == "record":
        center = clipped_sum(model, data, norm)
    else:
        delta = sgd_by_torch(plan, data, make_params(terms.dimension), SIZES[site])
        center = delta * min(1.0, norm / float(delta.norm()))
    scale = 1.0
    if isinstance(terms.kind, NoisedSteps):  # from a delta of one step back to the noised sum
        scale = -SIZES[site] / plan.training.learning_rate
    rows = []
    for number in range(25):
        trainer = keyed_trainer(plan, data, key_of("sigma", number))
        rows.append(terms.codec.decode(sent(terms, trainer, site)) * scale - center)
    return torch.cat(rows).numpy(), terms


def p_value(noise: np.ndarray[Any, np.dtype[np.float64]], sigma: float) -> float:
    """Of the two-sided chi-square test that the noise has standard deviation `sigma`."""
    below = stats.chi2.cdf(float(((noise / sigma) ** 2).sum()), noise.size)
    return float(2 * min(below, 1 - below))


@pytest.mark.parametrize(
    ("unit", "noise"),
    [("record", "site"), ("record", "distributed"), ("client", "site"), ("client", "distributed")],
)
def test_the_noise_has_the_promised_scale(unit: str, noise: str) -> None:
    """Chi-square over 8,050 draws, false-alarm rate 1e-6; the controls are 10% off in either direction."""
    plan = make_plan(unit, noise, model="mlp")
    drawn, terms = residuals(plan)
    # The promise, without the code under test: noise multiplier times norm, shared by all three sites where
    # nobody may drop out or collude. Rounding to the grid asks for a little more.
    shares = 3 if noise == "distributed" else 1
    multiplier = mechanism_of(terms).noise_multiplier
    promised = multiplier * 0.5 / np.sqrt(shares)
    sigma = SIGMA * mechanism_of(terms).step
    assert promised <= sigma <= 1.1 * promised
    assert p_value(drawn, sigma) > FALSE_ALARM
    assert p_value(drawn, 1.1 * sigma) < FALSE_ALARM
    assert p_value(drawn, sigma / 1.1) < FALSE_ALARM


@pytest.mark.parametrize("unit", ["record", "client"])
def test_with_central_noise_a_site_adds_none(unit: str) -> None:
    drawn, terms = residuals(make_plan(unit, "central"))
    assert np.abs(drawn).max() < 1e-3 * SIGMA * mechanism_of(terms).step


def test_steps_of_one_round_have_noise_of_their_own() -> None:
    """Two steps without any gradient are two draws: their sum tells them from one draw taken twice."""
    plan = make_plan("record", "site", local_steps=2, model="mlp")
    terms = make_terms(plan)
    empty = Dataset(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    decoded = terms.codec.decode(sent(terms, keyed_trainer(plan, empty, key_of("two")))).numpy()
    per_step = SIGMA * terms.kind.step_codec(terms.parties).step * plan.training.learning_rate / SIZES[SITE]
    assert p_value(decoded, per_step * np.sqrt(2)) > FALSE_ALARM
    assert p_value(decoded, per_step * 2) < FALSE_ALARM


@pytest.mark.parametrize(("unit", "noise"), PRIVATE)
def test_an_empty_batch_is_no_special_case(unit: str, noise: str) -> None:
    """DP-17"""
    plan, key = make_plan(unit, noise), key_of("empty")
    terms = make_terms(plan)
    empty = Dataset(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    found = sent(terms, keyed_trainer(plan, empty, key))
    if isinstance(terms.kind, NoisedSteps):
        assert bool(found.any())
    elif noise == "central":
        assert not bool(found.any())
    else:
        assert np.array_equal(found, noise_of(key, terms.dimension))


# Bounds.


@settings(max_examples=40, deadline=None)
@given(
    case=st.sampled_from([case for case in PRIVATE if case != ("record", "site")]),
    scale=st.sampled_from([0.0, 1.0, 1e3, 1e6, 1e30]),
    seed=st.integers(0, 99),
    records=st.integers(1, 20),
)
def test_one_unit_more_moves_the_integers_no_further_than_the_noise_was_made_for(
    case: tuple[str, str], scale: float, seed: int, records: int
) -> None:
    plan, key = make_plan(*case, learning_rate=3.0), key_of(seed)
    terms, data = make_terms(plan), make_data(records, seed)
    data.features[-1] *= scale
    whole = sent(terms, keyed_trainer(plan, data, key))
    if plan.privacy.unit == "record":
        without = sent(terms, keyed_trainer(plan, Dataset(data.features[:-1], data.labels[:-1]), key))
    else:
        without = np.zeros_like(whole) if case[1] == "central" else noise_of(key, terms.dimension)
    mechanism = mechanism_of(terms)
    shares = mechanism.shares
    allowed = SIGMA * np.sqrt(shares) / mechanism.noise_multiplier
    assert np.linalg.norm(whole - without) <= allowed
    assert allowed <= 1.1 * (mechanism.clipping_norm / mechanism.step + np.sqrt(terms.dimension))


@settings(max_examples=40, deadline=None)
@given(
    case=st.sampled_from(EVERY),
    scale=st.sampled_from([1.0, 1e3, 1e30]),
    seed=st.integers(0, 99),
    weights=st.sampled_from(["uniform", "declared"]),
)
def test_a_contribution_is_a_vector_of_the_ring(
    case: tuple[str, str], scale: float, seed: int, weights: str
) -> None:
    unit, noise = case
    if unit == "record" and noise in ("distributed", "central"):
        weights = "uniform"
    plan = make_plan(unit, noise, weights=weights, learning_rate=1e-2)
    terms, data = make_terms(plan), make_data(30, seed)
    if noise != "none":
        data = Dataset(data.features * scale, data.labels)
    vector = contribution(terms, SITE, make_params(seed=seed), keyed_trainer(plan, data, key_of(seed)))
    assert vector.dtype == lane_type(terms.codec.ring_bits)
    assert vector.shape == (terms.dimension,)
    assert int(vector.max()) < 1 << terms.codec.ring_bits


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("noise", ["distributed", "central"])
def test_far_more_records_than_declared_are_held_within_the_ball(noise: str, label: int) -> None:
    """400 equal records where 8 were declared: the sum is as long as that of 8, but for rounding, and no longer."""
    plan, key = make_plan("record", noise), key_of("box")
    terms = make_terms(plan, dict.fromkeys(SIZES, 8))
    data = Dataset(torch.ones(400, 2), torch.full((400,), label))
    found = sent(terms, keyed_trainer(plan, data, key))
    bare = found - noise_of(key, terms.dimension) if noise == "distributed" else found
    step, rounding = mechanism_of(terms).step, np.sqrt(terms.dimension) / 2
    assert abs(float(np.linalg.norm(bare)) - 8 * 0.5 / step) <= rounding
    assert terms.codec.limit * step >= 8 * 0.5  # an honest batch fits


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("unit", "noise"), PRIVATE)
def test_a_sum_never_wraps_even_with_every_site_at_its_limit(unit: str, noise: str, sign: int) -> None:
    terms = make_terms(make_plan(unit, noise))
    codec, cohort = terms.codec, len(terms.members)
    extreme = np.full(terms.dimension, sign * codec.limit)
    if not isinstance(terms.kind, NoisedSteps):
        extreme += sign * MAX_DRAW
    total = (codec.to_ring(extreme) * np.uint64(cohort)) & np.uint64((1 << codec.ring_bits) - 1)
    assert np.array_equal(codec.from_ring(total), cohort * extreme)


def test_an_update_that_was_never_private_and_left_the_ring_is_refused() -> None:
    plan = make_plan("record", "none", learning_rate=1e6)
    with pytest.raises(EncodingOverflow):
        sent(make_terms(plan), keyed_trainer(plan, make_data(40, 1), bytes(32)))


# Sums, as the server reads them.


def summed(terms: Terms, data: dict[str, Dataset]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The ring sum of all sites, less the noise of those that add it to the sum."""
    plan, total = terms.plan, np.zeros(terms.dimension, np.uint64)
    for name, records in data.items():
        key = key_of(name)
        trainer = keyed_trainer(plan, records, key)
        total += contribution(terms, name, make_params(), trainer)
        if plan.privacy.noise in ("distributed", "site"):
            total -= terms.codec.to_ring(noise_of(key, terms.dimension))
    return total & np.uint64((1 << terms.codec.ring_bits) - 1)


def without_server_noise(terms: Terms, total: np.ndarray[Any, np.dtype[np.uint64]]) -> Tensor:
    """The mean that the server reads, its own noise taken off beforehand."""
    if terms.plan.privacy.noise == "central":
        total = total - discrete_gaussian(Stream(bytes(32)), terms.dimension).astype(np.uint64)
    names = [member.site for member in terms.members]
    return mean_delta(terms, total, names, Stream(bytes(32)))


@pytest.mark.parametrize("noise", ["distributed", "central"])
def test_the_sum_over_sites_is_one_step_along_the_mean_gradient_of_all_records(noise: str) -> None:
    plan = make_plan(
        "record", noise, clipping_norm=100.0, learning_rate=0.7
    )  # so long that nothing is clipped
    terms = make_terms(plan)
    data = {name: make_data(size, size) for name, size in SIZES.items()}
    pooled = Dataset(
        torch.cat([part.features for part in data.values()]),
        torch.cat([part.labels for part in data.values()]),
    )
    expected = sgd_by_torch(plan, pooled, make_params(), sum(SIZES.values()))
    found = without_server_noise(terms, summed(terms, data))
    rounding = 3 * 0.5 * mechanism_of(terms).step * 0.7 / sum(SIZES.values())
    assert torch.allclose(found, expected, rtol=1e-4, atol=rounding + 1e-6)


@pytest.mark.parametrize("weights", ["uniform", "declared"])
@pytest.mark.parametrize("noise", [*NOISES, "none"])
def test_the_sum_over_sites_is_the_weighted_mean_of_their_deltas(noise: str, weights: str) -> None:
    plan = make_plan("client", noise, weights=weights, **({} if noise == "none" else {"clipping_norm": 10.0}))
    terms = make_terms(plan)
    data = {name: make_data(size, size) for name, size in SIZES.items()}
    deltas = {name: sgd_by_torch(plan, data[name], make_params(), SIZES[name]) for name in SIZES}
    shares = SIZES if weights == "declared" else dict.fromkeys(SIZES, 1)
    mean = sum(deltas[name] * shares[name] for name in SIZES) / sum(shares.values())
    found = without_server_noise(terms, summed(terms, data))
    assert torch.allclose(found, cast(Tensor, mean), rtol=1e-3, atol=2 * terms.codec.step)


# Poison.


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("noise", NOISES)
def test_a_record_that_is_not_finite_changes_nothing_at_all(noise: str, poison: float) -> None:
    """DP-14: to the last bit, since the noise is the same."""
    plan, key = make_plan("record", noise), key_of("poison")
    terms, clean = make_terms(plan), make_data(20, 6)
    features = torch.cat([clean.features, torch.tensor([[0.0, poison]])])
    poisoned = Dataset(features, torch.cat([clean.labels, torch.tensor([1])]))
    with_it, without = (sent(terms, keyed_trainer(plan, data, key)) for data in (poisoned, clean))
    assert np.array_equal(with_it, without)


@pytest.mark.parametrize("noise", ["site", "distributed", "central"])
def test_a_client_leaves_out_a_record_that_is_not_finite_and_no_other(noise: str) -> None:
    plan, key = make_plan("client", noise), key_of("one reading")
    terms, clean = make_terms(plan), make_data(20, 6)
    features = torch.cat([clean.features, torch.tensor([[0.0, np.inf]])])
    poisoned = Dataset(features, torch.cat([clean.labels, torch.tensor([1])]))
    with_it, without = (sent(terms, keyed_trainer(plan, data, key)) for data in (poisoned, clean))
    assert np.abs(with_it - without).max() <= 1  # a sum in float32, in another order


@pytest.mark.parametrize("noise", ["site", "distributed"])
def test_a_client_whose_training_breaks_down_sends_nothing_but_noise(noise: str) -> None:
    plan, key = make_plan("client", noise), key_of("breakdown")
    terms, data = make_terms(plan), make_data(20, 6)
    data.features[:, 1] = np.nan
    assert np.array_equal(sent(terms, keyed_trainer(plan, data, key)), noise_of(key, terms.dimension))
