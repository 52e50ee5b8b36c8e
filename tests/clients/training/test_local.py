"""Local steps against torch's own optimizers, the Poisson rate, the public denominator."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from clients.training.isolation import coins
from clients.training.local import local_delta, made_up, plain_gradient, poisson_batch
from clients.training.work import SiteWork, Trainer, contribution
from federation.config.tables import Training
from federation.model.task import Dataset, Task, build_task, cross_entropy
from privacy.mechanism.noise import Stream
from tests.clients.sites import (
    DIMENSION,
    key_of,
    loaded,
    make_data,
    make_params,
    make_plan,
    make_terms,
    sgd_by_torch,
)

FALSE_ALARM = 1e-6  # of each statistical test below; keys are fixed, so none ever flickers


def delta_of(
    training: Training, data: Dataset, size: int, key: bytes = bytes(32), params: Tensor | None = None
) -> Tensor:
    """`local_delta` with plain gradients and nothing done to them."""
    task = build_task(make_plan("record", "none"))
    model = loaded(task, make_params() if params is None else params, torch.float32)
    gradient = plain_gradient(model, task.loss)
    return local_delta(model, data, training, size, Stream(key), gradient, lambda total: total)


def training_of(**changes: object) -> Training:
    return make_plan("record", "none", **changes).training


@settings(max_examples=20, deadline=None)
@given(
    optimizer=st.sampled_from(["sgd", "adam", "adamw", "rmsprop"]),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    proximal=st.sampled_from([0.0, 0.1, 1.0]),
    steps=st.integers(1, 5),
    rate=st.sampled_from([0.01, 0.1, 1.0]),
    records=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_with_every_record_in_every_step_it_is_torchs_own_training(
    optimizer: str, momentum: float, proximal: float, steps: int, rate: float, records: int, seed: int
) -> None:
    """Also with momentum, and with the proximal term as FedProx has it in the loss."""
    given = {"optimizer": optimizer, "local_steps": steps, "learning_rate": rate}
    own: dict[str, object] = {
        "training.momentum": momentum * (optimizer == "sgd"),
        "training.proximal": proximal,
    }
    own |= {"training.weight_decay": 0.3} if optimizer == "adamw" else {}
    plan = make_plan("record", "none", **given, **own)
    data, params = make_data(records, seed), make_params(seed=seed)
    delta = delta_of(plan.training, data, records, params=params)
    assert delta.dtype == torch.float64
    expected = sgd_by_torch(plan, data, params, records)
    # Float32; a gradient of nearly zero over its own root is a matter of its last bit, which adam amplifies.
    assert torch.allclose(delta, expected, rtol=1e-3, atol=1e-5 * rate * steps)


def test_the_denominator_is_the_declared_size_whatever_the_data_hold() -> None:
    data = make_data(30, 1)
    deltas = {size: delta_of(training_of(), data, size) for size in (15, 30, 300)}
    assert torch.allclose(deltas[15], 2 * deltas[30], rtol=1e-5)
    assert torch.allclose(deltas[300], deltas[30] / 10, rtol=1e-4)
    assert not torch.allclose(deltas[300], deltas[30], rtol=1e-2)  # the size counts at all


def test_the_denominator_is_the_expected_batch_and_not_the_drawn_one() -> None:
    task, data = build_task(make_plan("record", "none")), make_data(60, 2)
    batch = poisson_batch(data, 0.25, Stream(bytes(32)))
    assert len(batch) not in (0, 15)  # the draw of this key is not the expected one
    model = loaded(task, make_params(), torch.float32)
    summed = plain_gradient(model, task.loss)(batch.features, batch.labels).to(torch.float64)
    delta = delta_of(training_of(sample_rate=0.25, learning_rate=1.0), data, 60)
    assert torch.allclose(delta, -summed / 15, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rate", [0.37, 0.1, 0.003])
def test_records_are_drawn_at_exactly_the_plans_rate(rate: float) -> None:
    """DP-19: two-sided exact binomial test, 200,000 decisions, false-alarm rate 1e-6; the control is 10% off."""
    data = Dataset(torch.arange(2000)[:, None].float(), torch.zeros(2000, dtype=torch.int64))
    stream = Stream(key_of("rate", rate))
    drawn = sum(len(poisson_batch(data, rate, stream)) for _ in range(100))
    if rate < 0.01:  # so few are drawn that the control needs more
        drawn += sum(len(poisson_batch(data, rate, stream)) for _ in range(1900))
    decisions = 200_000 if rate >= 0.01 else 4_000_000
    assert stats.binomtest(drawn, decisions, rate).pvalue > FALSE_ALARM
    assert stats.binomtest(drawn, decisions, rate * 1.1).pvalue < FALSE_ALARM
    nearest = 1 / round(1 / rate)  # where Opacus's own sampler would land
    if abs(nearest - rate) > 0.01 * rate:
        assert stats.binomtest(drawn, decisions, nearest).pvalue < FALSE_ALARM


def test_every_record_is_drawn_as_often_as_every_other() -> None:
    """Chi-square over 50 records and 4,000 batches, false-alarm rate 1e-6; the control favors one record."""
    data = Dataset(torch.arange(50)[:, None].float(), torch.zeros(50, dtype=torch.int64))
    stream, counts = Stream(key_of("records")), np.zeros(50)
    for _ in range(4000):
        counts[poisson_batch(data, 0.2, stream).features[:, 0].long().numpy()] += 1

    def p_value(observed: np.ndarray) -> float:
        return float(stats.chi2.sf(((observed - 800) ** 2 / (4000 * 0.2 * 0.8)).sum(), 50))

    assert p_value(counts) > FALSE_ALARM
    counts[7] *= 1.3
    assert p_value(counts) < FALSE_ALARM


def test_features_and_labels_of_a_batch_stay_together() -> None:
    data = Dataset(torch.arange(100)[:, None].float(), torch.arange(100))
    batch = poisson_batch(data, 0.5, Stream(bytes(32)))
    assert 0 < len(batch) < 100
    assert torch.equal(batch.features[:, 0].long(), batch.labels)


def test_every_step_draws_a_batch_of_its_own() -> None:
    seen: list[Tensor] = []

    def gradient(features: Tensor, labels: Tensor, patients: Tensor | None = None) -> Tensor:
        seen.append(features)
        return torch.zeros(DIMENSION)

    model = loaded(build_task(make_plan("record", "none")), make_params(), torch.float32)
    training = training_of(local_steps=3, sample_rate=0.5)
    local_delta(model, make_data(40, 0), training, 40, Stream(bytes(32)), gradient, lambda total: total)
    assert len(seen) == 3
    assert not any(torch.equal(one, other) for one, other in pairwise(seen))


def test_the_optimizer_sees_only_what_finish_lets_through() -> None:
    model = loaded(build_task(make_plan("record", "none")), make_params(), torch.float64)

    def gradient(features: Tensor, labels: Tensor, patients: Tensor | None = None) -> Tensor:
        return torch.full((DIMENSION,), 1e9, dtype=torch.float64)

    def finish(total: Tensor) -> Tensor:
        return torch.arange(DIMENSION, dtype=torch.float64)

    training = training_of(learning_rate=2.0)
    delta = local_delta(model, make_data(8, 0), training, 8, Stream(bytes(32)), gradient, finish)
    assert torch.allclose(delta, -2.0 * torch.arange(DIMENSION, dtype=torch.float64) / 8)


def test_patients_of_any_numbers_are_drawn_like_patients_numbered_from_zero() -> None:
    """Gaps, as a hold-out leaves them, and large or negative numbers change nothing."""
    whose = torch.tensor([0, 1, 1, 2, 0, 3, 4])
    odd = torch.tensor([-5, 10**12, 3, 7, 9])  # another name for each, and another order of names
    data = Dataset(torch.arange(7)[:, None].float(), torch.zeros(7, dtype=torch.int64), whose)
    for number in range(20):
        batch = poisson_batch(replace(data, patients=odd[whose]), 0.5, Stream(key_of("odd", number)))
        assert batch.patients is not None
        drawn = set(batch.patients.tolist())
        assert batch.features[:, 0].long().tolist() == [i for i in range(7) if int(odd[whose[i]]) in drawn]
    assert len(poisson_batch(data, 1.0, Stream(bytes(32)))) == 7


def test_without_patients_nobody_is_drawn() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    batch = poisson_batch(Dataset(torch.zeros(0, 2), none, none), 0.5, Stream(bytes(32)))
    assert len(batch) == 0


def test_a_plain_step_over_patients_is_one_over_their_records() -> None:
    data = make_data(30, 1)
    whole = replace(data, patients=torch.arange(30) // 3)
    assert torch.equal(delta_of(training_of(), whole, 10), delta_of(training_of(), data, 10))


def test_made_up_records_have_the_shape_of_the_real_ones_and_nothing_else() -> None:
    features = torch.full((5, 3, 4), torch.nan)
    made = made_up(Dataset(features, torch.full((5,), 9)), 70)
    assert made.features.shape == (70, 3, 4)
    assert made.features.dtype == features.dtype
    assert 0 <= float(made.features.min()) <= float(made.features.max()) < 1
    assert made.labels.dtype == torch.int64
    assert set(made.labels.tolist()) == {0, 1}
    assert made.patients is None
    words = Dataset(
        torch.full((5, 3), 900), torch.zeros(5, dtype=torch.int64), torch.zeros(5, dtype=torch.int64)
    )
    made = made_up(words, 70)
    assert set(made.features.unique().tolist()) == {0, 1}
    assert made.patients is not None and len(made.patients.unique()) == 70
    assert torch.equal(made_up(words, 70).features, made.features)
    assert not torch.equal(made_up(words, 70, seed=1).features, made.features)


def test_without_records_nothing_moves() -> None:
    empty = Dataset(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    assert not bool(delta_of(training_of(local_steps=3), empty, 20).any())


def test_a_model_that_seeds_the_generator_does_not_make_its_dropout_known() -> None:
    """Sites of different secrets draw different masks; the same site draws the same again."""

    def seeding() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Dropout(0.5), nn.Linear(width, 2))

    plan, data = make_plan("record", "none", sample_rate=1.0), make_data(20, 0)
    width = data.features.shape[1]

    def update(secret: str) -> Tensor:
        task = Task("seeding", seeding, cross_entropy)
        params, stream = torch.zeros(2 * width + 2), Stream(key_of(secret))
        trainer = Trainer(task, data, lambda _: stream)
        with coins(stream):
            return SiteWork(
                make_terms(plan), "amsterdam", params, trainer, stream, [torch.arange(20)]
            ).update()

    assert torch.equal(update("ours"), update("ours"))
    assert not torch.equal(update("ours"), update("another"))


@pytest.mark.parametrize("noise", ["site", "distributed"])
@pytest.mark.parametrize("unit", ["record", "patient"])
def test_only_what_was_drawn_is_widened(noise: str, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site of a million records copies a batch in a round, and never all of them."""
    plan = make_plan(unit, noise, sample_rate=0.1)
    data = make_data(400, 0)
    data = replace(data, patients=torch.arange(400)) if unit == "patient" else data
    terms, trainer = make_terms(plan), Trainer(build_task(plan), data, lambda _: Stream(bytes(32)))
    widened, to = list[int](), Tensor.to

    def noting(tensor: Tensor, *args: object, **named: object) -> Tensor:
        found: Tensor = to(tensor, *args, **named)  # type: ignore[call-overload]
        if found.dtype == torch.float64 and tensor.dtype == torch.float32 and tensor.dim() == 2:
            widened.append(len(tensor))
        return found

    monkeypatch.setattr(Tensor, "to", noting)
    contribution(terms, "amsterdam", make_params(), trainer)
    assert widened and max(widened) < 100
