"""What voids a privacy guarantee elsewhere, tried on the whole way from data to release.

The traps are those of Opacus 1.6 and of the clients built on it: predictable noise, rounded rates, an optimizer
that can be gone around, statistics in buffers, crashes that depend on the data, low bits of floating-point noise.
"""

from __future__ import annotations

import random  # noqa: TID251 - to show that its seed changes nothing
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from clients import release as door
from clients.release import release
from clients.training import per_example, work
from clients.training.local import local_delta, poisson_batch
from clients.training.work import Trainer, contribution, site_stream
from federation.config.tables import Training
from federation.errors import PlanError, TaskError
from federation.kinds.updates import NoisedSteps
from federation.model.task import Dataset, Task, build_task, cross_entropy
from federation.plan.plan import Plan, parse
from federation.round.terms import Terms
from privacy.mechanism.encoding import Codec, Integers
from privacy.mechanism.gaussian import GaussianMechanism
from privacy.mechanism.noise import MAX_DRAW, SIGMA, Stream, discrete_gaussian
from privacy.secagg.ring import lane_type
from tests import plans
from tests.clients.journal.journals import statement
from tests.clients.sites import (
    DIMENSION,
    SMALL,
    key_of,
    keyed_trainer,
    make_data,
    make_params,
    make_plan,
    make_terms,
    open_journal,
)
from tests.clients.units import NOISES, PRIVATE, owned

FALSE_ALARM = 1e-6  # of each statistical test below; keys are fixed, so none ever flickers
SITE = "amsterdam"
EMPTY = Dataset(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))


def sent(terms: Terms, trainer: Trainer, site: str = SITE) -> Integers:
    """A contribution as the integers it stands for."""
    return terms.codec.from_ring(contribution(terms, site, make_params(terms.dimension), trainer))


def noise_of(key: bytes, size: int) -> Integers:
    return discrete_gaussian(Stream(key).derive("noise"), size)


def mechanism_of(terms: Terms) -> GaussianMechanism:
    assert terms.mechanism is not None
    return terms.mechanism


# Records.


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e38])
@pytest.mark.parametrize(("unit", "noise"), [case for case in PRIVATE if case[0] != "client"])
def test_a_poisoned_record_is_no_more_than_one_record(unit: str, noise: str, poison: float) -> None:
    """DP-14: the noise is the same, and what is under it moved by nothing, or at most by one clipped gradient."""
    plan, key = make_plan(unit, noise), key_of("poison")
    terms, clean = make_terms(plan), owned(make_data(20, 6))
    without = sent(terms, keyed_trainer(plan, clean, key))
    moved = []
    for label in (0, 1):  # one of which the model takes for certain, so that nothing is left of its gradient
        features = torch.cat([clean.features, torch.tensor([[0.3, poison]])])
        poisoned = owned(Dataset(features, torch.cat([clean.labels, torch.tensor([label])])))
        moved.append(float(np.linalg.norm(sent(terms, keyed_trainer(plan, poisoned, key)) - without)))
    if not np.isfinite(poison):
        assert moved == [0, 0]
        return
    mechanism = mechanism_of(terms)
    allowed = SIGMA * np.sqrt(mechanism.shares) / mechanism.noise_multiplier
    if noise == "site":  # of one step, the delta is that over the expected batch, rounded once more
        allowed *= mechanism.step * plan.training.learning_rate / terms.size(SITE) / terms.codec.step
        allowed += np.sqrt(DIMENSION)
    assert 0 < max(moved) <= allowed


def test_all_records_of_a_patient_count_as_one() -> None:
    """DP-27: whether the last patient has one record or thirty; the control, for records, is moved further."""
    key, base, extra = key_of("patient"), make_data(20, 6), make_data(1, 9)
    moved = {}
    for unit in ("patient", "record"):
        plan = make_plan(unit, "distributed", clipping_norm=0.05)
        terms = make_terms(plan)
        allowed = SIGMA * np.sqrt(mechanism_of(terms).shares) / mechanism_of(terms).noise_multiplier
        many = Dataset(
            torch.cat([base.features, extra.features.repeat(30, 1)]),
            torch.cat([base.labels, extra.labels.repeat(30)]),
        )
        whose = torch.cat([torch.arange(20), torch.full((30,), 20)])
        without = sent(terms, keyed_trainer(plan, owned(base), key))
        moved[unit] = (
            np.linalg.norm(sent(terms, keyed_trainer(plan, owned(many, whose), key)) - without) / allowed
        )
    assert 0 < moved["patient"] <= 1
    assert moved["record"] > 20


def test_patients_are_drawn_whole_and_by_the_plans_rate() -> None:
    """DP-19, DP-27: two-sided exact binomial test, false-alarm rate 1e-6; the control is 10% off."""
    whose = torch.arange(400).repeat_interleave(3)[
        torch.randperm(1200, generator=torch.Generator().manual_seed(1))
    ]
    data = Dataset(torch.arange(1200)[:, None].float(), torch.zeros(1200, dtype=torch.int64), whose)
    stream, drawn = Stream(key_of("patients")), 0
    for _ in range(100):
        batch = poisson_batch(data, 0.37, stream)
        assert batch.patients is not None
        found, counts = torch.unique(batch.patients, return_counts=True)
        assert bool((counts == 3).all())
        assert torch.equal(batch.patients, whose[batch.features[:, 0].long()])
        drawn += len(found)
    assert stats.binomtest(drawn, 40_000, 0.37).pvalue > FALSE_ALARM
    assert stats.binomtest(drawn, 40_000, 0.37 * 1.1).pvalue < FALSE_ALARM


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("unit", ["record", "patient"])
def test_a_rate_that_no_number_of_batches_divides_is_honored(
    unit: str, noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DP-19: 25 rounds of 400 at .37, two-sided exact binomial test, false-alarm rate 1e-6; the controls are what a
    sampler with whole numbers of batches makes of it, 1/2 and 1/3.
    """
    plan = make_plan(unit, noise, sample_rate=0.37, rounds=12)
    seen: list[int] = []
    losses_of = per_example.losses_of

    def counted(*asked: Any) -> Tensor:
        seen.append(len(asked[-1]))
        return losses_of(*asked)

    monkeypatch.setattr(per_example, "losses_of", counted)
    task, terms, data = build_task(plan), make_terms(plan), owned(make_data(400, 1))
    contribution(terms, SITE, make_params(), Trainer(task, data, lambda _: Stream(key_of("tried"))))
    seen.clear()  # of trials on made-up records
    for number in range(25):
        key = key_of("rate", number)
        contribution(terms, SITE, make_params(), Trainer(task, data, lambda _, key=key: Stream(key)))  # type: ignore[misc]
    decisions = 25 * 400
    assert stats.binomtest(sum(seen), decisions, 0.37).pvalue > FALSE_ALARM
    assert stats.binomtest(sum(seen), decisions, 1 / 2).pvalue < FALSE_ALARM
    assert stats.binomtest(sum(seen), decisions, 1 / 3).pvalue < FALSE_ALARM


@pytest.mark.parametrize("noise", NOISES)
def test_a_batch_that_is_expected_to_hold_one_record_is_an_ordinary_batch(noise: str) -> None:
    """DP-18: 49 records at rate 1/49, where int(49 * (1 / 49)) is 0 and a division by it NaN."""
    plan = make_plan("record", noise, sample_rate=1 / 49)
    terms = make_terms(plan, dict.fromkeys(("amsterdam", "berlin", "cleveland"), 49))
    assert int(49 * (1 / 49)) == 0
    for number in range(20):
        found = sent(terms, keyed_trainer(plan, make_data(49, 2), key_of("one", number)))
        assert int(np.abs(found).max()) <= terms.codec.limit + MAX_DRAW
        if noise != "central":
            assert bool(found.any())


@pytest.mark.parametrize(("unit", "noise"), PRIVATE)
@pytest.mark.parametrize("records", [0, 1])
def test_a_pool_of_one_record_or_none_releases_and_is_charged_like_any_other(
    unit: str, noise: str, records: int, tmp_path: Path
) -> None:
    """DP-17, DP-56: no crash, no shortcut; an empty batch is noise alone."""
    plan, key = make_plan(unit, noise), key_of("small")
    journal, terms = open_journal(tmp_path / "journal", plan), make_terms(plan)
    trainer = keyed_trainer(plan, owned(make_data(records, 3)), key)
    vector = release(terms, SITE, make_params(), trainer, journal)
    assert [entry.kind for entry in journal.entries()][-2:] == ["begin", "release"]
    assert vector.shape == (DIMENSION,)
    bare = terms.codec.from_ring(vector)
    if noise != "central" and not isinstance(terms.kind, NoisedSteps):
        bare = bare - noise_of(key, DIMENSION)
    if records == 0 and not isinstance(terms.kind, NoisedSteps):
        assert not bool(bare.any())


# Noise.


WIDTH = 75_000


def wide_terms(plan: Plan) -> Terms:
    return make_terms(plan, dimension=3 * WIDTH)


def wide_noise(key: bytes, noise: str = "distributed") -> NDArray[np.float64]:
    """What a site without records sends for a model of 225,000 parameters, in units of its standard deviation."""
    plan = make_plan("record", noise)
    terms = wide_terms(plan)
    task = Task("wide", lambda: nn.Linear(2, WIDTH), cross_entropy)
    trainer = Trainer(task, EMPTY, lambda _: Stream(key))
    return terms.codec.from_ring(contribution(terms, SITE, torch.zeros(terms.dimension), trainer)) / SIGMA


@pytest.fixture(scope="module")
def sites_and_rounds() -> dict[tuple[str, int], NDArray[np.float64]]:
    return {
        (site, number): wide_noise(key_of("noise", site, number))
        for site in ("amsterdam", "berlin")
        for number in (1, 2)
    }


def test_the_noise_has_the_promised_scale_and_shape(
    sites_and_rounds: dict[tuple[str, int], NDArray[np.float64]],
) -> None:
    """DP-20: chi-square of sigma and Kolmogorov-Smirnov on 225,000 draws, false-alarm rate 1e-6 each.

    The controls: a scale that is off by 1.5% either way, a Laplace distribution of the same variance.
    """

    def chi_square(drawn: NDArray[np.float64]) -> float:
        total = float((drawn**2).sum())
        return 2 * min(float(stats.chi2.cdf(total, drawn.size)), float(stats.chi2.sf(total, drawn.size)))

    drawn = sites_and_rounds["amsterdam", 1]
    assert chi_square(drawn) > FALSE_ALARM
    assert chi_square(drawn * 1.015) < FALSE_ALARM
    assert chi_square(drawn / 1.015) < FALSE_ALARM
    assert stats.kstest(drawn, "norm").pvalue > FALSE_ALARM
    laplace = stats.laplace(scale=np.sqrt(0.5)).ppf(stats.norm.cdf(drawn))
    assert chi_square(laplace / laplace.std()) > FALSE_ALARM  # of the right scale, and yet
    assert stats.kstest(laplace, "norm").pvalue < FALSE_ALARM


def correlated(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """p-value of a correlation of 0, by Fisher's z."""
    return float(stats.pearsonr(one, other).pvalue)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("amsterdam", 1), ("amsterdam", 2)),
        (("amsterdam", 1), ("berlin", 1)),
        (("amsterdam", 1), ("berlin", 2)),
        (("berlin", 1), ("berlin", 2)),
    ],
)
def test_noise_is_independent_across_rounds_and_sites(
    one: tuple[str, int], other: tuple[str, int], sites_and_rounds: dict[tuple[str, int], NDArray[np.float64]]
) -> None:
    """DP-20: correlation on 225,000 pairs, false-alarm rate 1e-6; in the control one draw in 50 is used twice."""
    first, second = sites_and_rounds[one], sites_and_rounds[other].copy()
    assert correlated(first, second) > FALSE_ALARM
    assert correlated(np.abs(first), np.abs(second)) > FALSE_ALARM  # the same magnitude under another sign
    second[::50] = first[::50]
    assert correlated(first, second) < FALSE_ALARM
    second[::50] *= -1
    assert correlated(np.abs(first), np.abs(second)) < FALSE_ALARM


def test_noise_is_independent_within_a_release(
    sites_and_rounds: dict[tuple[str, int], NDArray[np.float64]],
) -> None:
    """DP-20: neighboring coordinates, false-alarm rate 1e-6; the control repeats one draw in 50."""
    drawn = sites_and_rounds["amsterdam", 1]
    assert correlated(drawn[1:], drawn[:-1]) > FALSE_ALARM
    assert correlated(drawn[3:], drawn[:-3]) > FALSE_ALARM  # the parameters of one input
    repeating = drawn.copy()
    repeating[1::50] = repeating[::50]
    assert correlated(repeating[1:], repeating[:-1]) < FALSE_ALARM


@pytest.mark.parametrize(("unit", "noise"), PRIVATE)
def test_no_global_generator_is_asked_for_noise_or_batches(unit: str, noise: str) -> None:
    """DP-21: seeds of torch, NumPy and Python neither fix what leaves nor are used up by it."""
    plan = make_plan(unit, noise, sample_rate=0.37, rounds=12)
    terms = make_terms(plan)
    task = replace(
        build_task(plan), model=lambda: nn.utils.skip_init(nn.Linear, 2, 2)
    )  # draws no first params
    trainer = Trainer(task, owned(make_data(40, 1)), partial(site_stream, plan, SITE))
    releases = []
    for _ in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(1)
            np.random.seed(1)  # noqa: TID251 - to show that it changes nothing
            random.seed(1)
            before = torch.get_rng_state(), random.getstate()
            releases.append(sent(terms, trainer))
            assert torch.equal(torch.get_rng_state(), before[0])
            assert random.getstate() == before[1]
    assert not np.array_equal(*releases)  # other noise, or where the server adds it another batch
    if noise == "central":
        return
    differences = releases[0] - releases[1]
    assert len(set(differences.tolist())) > 1
    assert not np.array_equal(np.abs(releases[0]), np.abs(releases[1]))


# Floating point.


def test_every_release_is_on_the_grid_whatever_the_data() -> None:
    """Of float noise on a float sum the low bits tell the sum (Mironov 2012). Here both are integers.

    An attacker who knows the two sums that the data could have, and every number that the generator can put out,
    looks whether a release is possible under each. Under ours both always are. The control adds a normal float to
    the sum: a release is then possible under one of the two sums alone, and tells which.
    """
    plan = make_plan("record", "distributed")
    terms = make_terms(plan)
    one, other = make_data(20, 6), make_data(21, 7)
    bare = {}
    for name, data in (("one", one), ("other", other)):
        bare[name] = sent(terms, keyed_trainer(plan, data, bytes(32))) - noise_of(bytes(32), DIMENSION)
    exact = {
        name: integers * terms.codec.step * (1 + 1e-9) for name, integers in bare.items()
    }  # off any grid
    sigma = SIGMA * terms.codec.step
    generator = (
        stats.norm.ppf((np.arange(2**16) + 0.5) / 2**16) * sigma
    )  # all that a coarse generator can say
    possible = {name: set((exact[name][0] + generator).tolist()) for name in exact}
    caught = 0
    for number in range(50):
        key = key_of("grid", number)
        found = sent(terms, keyed_trainer(plan, one, key))
        assert found.dtype == np.int64
        decoded = terms.codec.decode(found).numpy()
        assert np.array_equal(decoded, np.rint(decoded / terms.codec.step) * terms.codec.step)
        for integers in bare.values():  # possible under either
            assert int(np.abs(found - integers).max()) <= MAX_DRAW
        draw = int(Stream(key).words(1)[0] >> np.uint64(48))
        naive = exact["one"][0] + generator[draw]
        assert naive in possible["one"]
        caught += naive not in possible["other"]
    assert caught == 50


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from([case for case in PRIVATE if case[0] != "client"]),
    values=st.lists(
        st.tuples(st.floats(width=32), st.floats(width=32), st.integers(0, 1)), min_size=0, max_size=6
    ),
    seed=st.integers(0, 9),
)
def test_the_grid_and_the_range_follow_from_public_numbers_alone(
    case: tuple[str, str], values: list[tuple[float, float, int]], seed: int
) -> None:
    """Any floats for data, infinite, subnormal or none at all: integers within the same limits and grid."""
    plan = make_plan(*case)
    terms = make_terms(plan)
    features = torch.tensor([[a, b] for a, b, _ in values], dtype=torch.float32).reshape(-1, 2)
    data = owned(Dataset(features, torch.tensor([label for *_, label in values], dtype=torch.int64)))
    vector = contribution(terms, SITE, make_params(seed=seed), keyed_trainer(plan, data, key_of(seed)))
    assert vector.dtype == lane_type(terms.codec.ring_bits)
    assert int(np.abs(terms.codec.from_ring(vector)).max()) <= terms.codec.limit + MAX_DRAW
    other = make_terms(plan)
    assert (other.codec, mechanism_of(other).step) == (terms.codec, mechanism_of(terms).step)


def test_noise_inside_the_steps_is_put_on_a_grid_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a site noises each step, the optimizer already sees multiples of the grid's step and nothing finer."""
    plan = make_plan("record", "site", local_steps=3)
    terms, seen = make_terms(plan), []
    decode = Codec.decode

    def watched(codec: Codec, integers: Integers) -> Tensor:
        seen.append((codec, decode(codec, integers)))
        return seen[-1][1]

    monkeypatch.setattr(Codec, "decode", watched)
    contribution(terms, SITE, make_params(), keyed_trainer(plan, make_data(40, 2), key_of("steps")))
    assert len(seen) == 3
    for codec, values in seen:
        assert codec == terms.kind.step_codec(terms.parties)
        assert np.array_equal(values.numpy(), np.rint(values.numpy() / codec.step) * codec.step)


# Ways around.


def test_a_second_optimizer_moves_a_copy_and_nothing_of_it_leaves() -> None:
    """DP-24: the task's own code steps on the raw losses in every batch; the delta stays that of the noise."""
    plan = make_plan("record", "site", local_steps=3)
    terms, kept, armed = make_terms(plan), [], [False]

    def model() -> nn.Module:
        kept.append(nn.Linear(2, 2))
        return kept[-1]

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        losses = cross_entropy(outputs, labels)
        assert bool(torch.isfinite(losses).all())  # so it gets values, and not under `vmap`
        if armed[0]:
            for parameter in kept[-1].parameters():
                parameter.data -= 1e6 * losses.detach().sum()
        return losses

    trainer = Trainer(Task("sly", model, loss), make_data(40, 1), lambda _: Stream(key_of("sly")))
    honest = sent(terms, trainer)
    armed[0] = True
    assert np.array_equal(sent(terms, trainer), honest)
    moved = torch.cat([p.detach().reshape(-1) for p in kept[-1].parameters()])
    assert float((moved - make_params()).abs().max()) > 1e3  # and its model did move


def test_the_optimizer_of_a_round_cannot_be_reached_or_replaced() -> None:
    """DP-24: it is made in the loop, over a vector of the loop's own, and ends with it."""
    model = nn.Linear(2, 2)
    seen: list[Tensor] = []

    def gradient(features: Tensor, labels: Tensor, _: Tensor | None = None) -> Tensor:
        seen.append(torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()]))
        for parameter in model.parameters():
            parameter.data += 100
        return torch.ones(DIMENSION)

    training = make_plan("record", "none", local_steps=3, learning_rate=1.0).training
    delta = local_delta(model, make_data(8, 0), training, 8, Stream(bytes(32)), gradient, lambda total: total)
    assert torch.allclose(delta, torch.full((DIMENSION,), -3 / 8, dtype=torch.float64))
    assert torch.allclose(seen[1], seen[0] - 1 / 8)
    assert torch.allclose(seen[2], seen[0] - 2 / 8)


@pytest.mark.parametrize(
    "line",
    ['sampler = "weighted"', "shuffle = true", "drop_last = true", "replacement = true", "batch_size = 8"],
)
def test_no_other_sampler_can_be_asked_for(line: str) -> None:
    """DP-26: a plan has one rate, and every unit is drawn by itself with it."""
    with pytest.raises(PlanError):
        parse(plans.text_of(SMALL, noise="none").replace("[training]", f"[training]\n{line}"))
    steps = {
        "optimizer",
        "learning_rate",
        "local_steps",
        "proximal",
        "momentum",
        "weight_decay",
    }  # draw no unit
    assert set(Training.model_fields) == {"sample_rate"} | steps


def test_no_loader_and_no_other_data_set_can_take_the_place_of_the_records() -> None:
    """DP-26: data are tensors, drawn from here; what a trainer holds cannot be exchanged."""
    tensors = ["features", "labels", "patients", "ids", "persons", "contents"]
    assert [field.name for field in fields(Dataset)] == tensors
    assert {field.type for field in fields(Dataset)} == {"Tensor", "Tensor | None"}
    trainer = keyed_trainer(make_plan(), make_data(8, 1), bytes(32))
    with pytest.raises(FrozenInstanceError):
        trainer.data = make_data(9, 1)  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        trainer.data.features = torch.zeros(8, 2)  # type: ignore[misc]


class Counting(nn.Module):
    """Counts its batches in an int64 buffer, as BatchNorm does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.batches += len(x)
        outputs: Tensor = self.layer(x)
        return outputs


@pytest.mark.parametrize(
    "model",
    [
        Counting,
        lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)),
        lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).eval().requires_grad_(False)),
        lambda: nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False))),
        lambda: nn.Sequential(nn.InstanceNorm1d(2, track_running_stats=True), nn.Linear(2, 2)),
    ],
)
@pytest.mark.parametrize(("unit", "noise"), [*PRIVATE, ("record", "none")])
def test_no_model_with_statistics_or_counters_is_trained_or_sent(
    unit: str, noise: str, model: Callable[[], nn.Module]
) -> None:
    """DP-22, DP-30: BatchNorm anywhere, frozen or without parameters, and any buffer, whole numbers included."""
    plan, made = make_plan(unit, noise), []

    def factory() -> nn.Module:
        made.append(model())
        return made[-1]

    trainer = Trainer(
        Task("counting", factory, cross_entropy), owned(make_data(8, 1)), lambda _: Stream(bytes(32))
    )
    with pytest.raises(TaskError):
        contribution(make_terms(plan), SITE, make_params(), trainer)
    for buffer in made[-1].buffers():
        assert float(buffer.double().sum()) in (0.0, float(buffer.numel()))  # as it was made


# Interruptions.


PLACES: dict[str, tuple[object, str]] = {
    "drawing the batch": (work, "poisson_batch"),
    "making the model": (work.SiteWork, "_model"),
    "summing": (work, "clipped_gradient"),
    "drawing noise": (GaussianMechanism, "noise"),
    "encoding": (Codec, "encode_rows"),
    "sealing": (door.Payload, "seal"),
}


@pytest.mark.parametrize("place", [*PLACES, "journal"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_a_round_interrupted_anywhere_is_charged_and_leaves_nothing(
    place: str, error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DP-25: nothing is kept, nothing is handed on, and the next try is as if this one had not been."""
    plan, key = make_plan("record", "distributed"), key_of("stop")
    journal, terms = open_journal(tmp_path / "journal", plan), make_terms(plan)
    trainer = keyed_trainer(plan, make_data(20, 1), key)

    def stop(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patched, pytest.raises((error, TaskError)):
        patched.setattr(*((journal, "release") if place == "journal" else PLACES[place]), stop)
        release(terms, SITE, make_params(), trainer, journal)
    assert [entry.kind for entry in journal.entries()][-1] == "begin"
    assert journal.rounds_begun(terms.run.hex()) == 1
    assert statement(journal, "SELECT COUNT(*) FROM releases") == (0,)
    vector = release(terms, SITE, make_params(), trainer, journal)
    assert np.array_equal(vector, contribution(terms, SITE, make_params(), trainer))
    assert [entry.kind for entry in journal.entries()][-2:] == ["begin", "release"]
