"""A cohort's training as one program: what every site would compute by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clients.training.isolation import Tally
from clients.training.places import device_of
from federation.errors import InputError
from federation.model.losses import Hinge
from federation.model.task import Dataset
from privacy.mechanism.noise import Stream
from simulations.cohort.batches import Drawn, Stack
from simulations.cohort.program import CohortProgram
from tests.clients.sites import make_plan
from tests.simulations.cohort.cohorts import (
    FEATURES,
    RAGGED,
    Skipping,
    cohort_of,
    deep,
    logistic,
    mlp,
    updates,
)

MODELS: dict[str, Callable[[], nn.Module]] = {
    "logistic": logistic,
    "mlp": mlp,
    "deep": deep,
    "skipping": Skipping,
}
OPTIMIZERS: dict[str, dict[str, object]] = {
    "sgd": {"learning_rate": 0.3},
    "momentum": {"learning_rate": 0.1, "momentum": 0.9},
    "fedprox": {"learning_rate": 0.3, "proximal": 0.5},
    "adam": {"optimizer": "adam", "learning_rate": 0.01, "proximal": 0.1},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.5},
    "rmsprop": {"optimizer": "rmsprop", "learning_rate": 0.003},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_every_site_s_update_is_the_one_it_would_send(model: str, optimizer: str) -> None:
    cohort = cohort_of(MODELS[model], local_steps=4, **OPTIMIZERS[optimizer])
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert float((found - expected).abs().max()) < 1e-5
    assert float(expected.abs().max()) > 1e-3
    assert cohort.program.way(cohort.terms, torch.float32).net is not None


@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_a_hinge_loss_is_trained_and_clipped_together_as_apart(model: str) -> None:
    plain = cohort_of(MODELS[model], loss=Hinge(), local_steps=3, learning_rate=0.1)
    found, expected = plain.together(updates), plain.one_by_one(lambda work: work.update())
    assert float((found - expected).abs().max()) < 1e-5
    assert float(expected.abs().max()) > 1e-3
    assert plain.program.way(plain.terms, torch.float32).net is not None
    clipped = cohort_of(MODELS[model], loss=Hinge(), noise="distributed")
    sums = clipped.together(lambda program, *round_: program.clipped_gradients(*round_, 0.4))
    assert float((sums - clipped.one_by_one(lambda work: work.clipped_gradients(0.4))).abs().max()) < 1e-9


@pytest.mark.parametrize("unit", ["record", "patient"])
@pytest.mark.parametrize("model", MODELS)
def test_every_site_s_clipped_sum_is_the_one_it_would_send(model: str, unit: str) -> None:
    cohort = cohort_of(MODELS[model], unit=unit, noise="distributed")
    found = cohort.together(lambda program, *round_: program.clipped_gradients(*round_, 0.4))
    expected = cohort.one_by_one(lambda work: work.clipped_gradients(0.4))
    assert float((found - expected).abs().max()) < 1e-9
    assert float(expected.abs().max()) > 0.1


@pytest.mark.parametrize("unit", ["record", "patient"])
@pytest.mark.parametrize("optimizer", ["momentum", "fedprox", "adam", "adamw"])
def test_noised_steps_are_the_sites_own(unit: str, optimizer: str) -> None:
    cohort = cohort_of(mlp, unit=unit, noise="site", local_steps=3, **OPTIMIZERS[optimizer])
    names = list(cohort.terms.parameters.members)

    def noise(name: str, step: int) -> Tensor:
        seeded = torch.Generator().manual_seed(1000 * step + names.index(name))
        return torch.randn(len(cohort.params), generator=seeded, dtype=torch.float64)

    steps = dict.fromkeys(names, 0)

    def drawn(name: str) -> Tensor:
        steps[name] += 1
        return noise(name, steps[name])

    found = cohort.together(
        lambda program, *round_: program.noised_updates(
            *round_, 0.4, lambda place, sums: sums + torch.stack([drawn(name) for name in names[place]])
        )
    )
    assert set(steps.values()) == {3}
    steps.update(dict.fromkeys(names, 0))
    expected = cohort.one_by_one(lambda work: work.noised_update(0.4, lambda total: total + drawn(work.site)))
    assert float((found - expected).abs().max()) < 1e-9


def test_one_stream_may_serve_all_sites() -> None:
    cohort = cohort_of(mlp, sample_rate=1.0, local_steps=2)
    rows = torch.cat(
        [rows for _, rows in cohort.program.updates(cohort.terms, cohort.params, Stream(bytes(32)))]
    )
    assert torch.equal(rows, cohort.together(updates))  # of rate 1 nothing is drawn
    half = cohort_of(mlp, local_steps=2)
    assert not torch.equal(
        *(
            torch.cat(
                [rows for _, rows in half.program.updates(half.terms, half.params, Stream(bytes([key] * 32)))]
            )
            for key in (1, 2)
        )
    )


BAD = {"nan": math.nan, "infinity": math.inf, "huge": 1e30, "beyond squares": 3e38}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("model", ["mlp", "skipping"])
def test_a_record_that_is_not_finite_is_left_out_as_at_its_site(model: str, bad: str) -> None:
    def spoil(data: dict[str, Dataset]) -> None:
        data["doum"].features[3] = BAD[bad]

    plain = cohort_of(MODELS[model], spoil=spoil, sample_rate=1.0, local_steps=2)
    found, expected = plain.together(updates), plain.one_by_one(lambda work: work.update())
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    for unit in ("record", "patient"):
        private = cohort_of(MODELS[model], unit=unit, noise="distributed", spoil=spoil, sample_rate=1.0)
        sums = private.together(lambda program, *round_: program.clipped_gradients(*round_, 0.4))
        own = private.one_by_one(lambda work: work.clipped_gradients(0.4))
        assert torch.isfinite(sums).all()
        assert torch.allclose(sums, own, rtol=0, atol=1e-9)


@pytest.mark.parametrize("label", [7, -1, -100])
@pytest.mark.parametrize("model", ["mlp", "skipping"])
def test_a_label_that_the_loss_does_not_know_is_left_to_the_site(model: str, label: int) -> None:
    def spoil(data: dict[str, Dataset]) -> None:
        data["fir"].labels[2] = label

    cohort = cohort_of(MODELS[model], spoil=spoil, sample_rate=1.0, local_steps=2)
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert float((found - expected).abs().max()) < 1e-5


class _Asking(nn.Linear):
    """Its path follows the records."""

    def forward(self, features: Tensor) -> Tensor:
        """Raises on some of them."""
        if bool((features > 2.0).any()):
            raise ValueError("too large")
        return super().forward(features)


def _dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.AlphaDropout(0.5), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize(
    "model", [lambda: _Asking(FEATURES, 2), _dropping], ids=["follows values", "draws dropout"]
)
def test_what_no_tensor_program_does_the_same_is_the_sites_own_code_s(model: Callable[[], nn.Module]) -> None:
    cohort = cohort_of(model, local_steps=3)
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert cohort.program.way(cohort.terms, torch.float32).net is None
    assert torch.equal(found, expected)


def test_one_large_site_does_not_widen_the_batches_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {f"small{number:02}": 9 for number in range(40)} | {"zzz": 5000}
    cohort = cohort_of(mlp, sizes, sample_rate=0.5, local_steps=2)
    widest: list[int] = []
    net = cohort.program.way(cohort.terms, torch.float32).net
    assert net is not None
    assert net.plain is not None
    before = net.plain.step

    def watched(stack: Stack, drawn: Drawn, *rest: Any) -> None:
        widest.append(len(drawn.padded))
        before(stack, drawn, *rest)

    monkeypatch.setattr(net.plain, "step", watched)
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert float((found - expected).abs().max()) < 1e-5
    assert max(widest) < 2 * (2500 + 40 * 9)


class _Lazy(Mapping[str, Dataset]):
    """Virtual sites, made when they are asked for; remembers how many were held at once."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, 0

    def __getitem__(self, name: str) -> Dataset:
        self.asked += 1
        generator = torch.Generator().manual_seed(int(name))
        return Dataset(torch.randn(4, FEATURES, generator=generator), torch.ones(4, dtype=torch.int64))

    def __iter__(self) -> Iterator[str]:
        return (f"{number:06}" for number in range(self.count))

    def __len__(self) -> int:
        return self.count


def test_sites_are_read_and_handed_out_a_slice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulations.cohort.ways.MOST", 50)
    few = cohort_of(mlp, {f"{number:06}": 4 for number in range(400)}, local_steps=1)
    lazy = _Lazy(400)
    program = CohortProgram(few.terms.plan, few.task, lazy, device="cpu")
    places = []
    for place, rows in program.updates(few.terms, few.params, few.streams()):
        assert rows.shape == (place.stop - place.start, len(few.params))
        assert lazy.asked <= place.stop + 1  # and one that was looked at for its shape
        places.append(place)
    assert [place.start for place in places] == list(range(0, 400, 50))


def test_a_record_on_which_own_code_raises_is_counted() -> None:
    tally = Tally()
    cohort = cohort_of(lambda: _Asking(FEATURES, 2), sample_rate=1.0, local_steps=1)
    program = CohortProgram(cohort.terms.plan, cohort.task, cohort.data, device="cpu", tally=tally)
    list(program.updates(cohort.terms, cohort.params, cohort.streams()))
    assert (
        tally.raised == sum(int((part.features > 2.0).any(dim=1).sum()) for part in cohort.data.values()) > 0
    )


def test_a_round_leaves_nothing_behind_for_the_next() -> None:
    cohort = cohort_of(mlp, local_steps=3, learning_rate=0.1, momentum=0.5)
    first = cohort.together(updates)
    moved = replace(cohort, params=cohort.params + 1)
    assert not torch.equal(moved.together(updates), first)
    assert torch.equal(cohort.together(updates), first)


def test_a_device_is_a_word_and_has_to_be_there() -> None:
    assert device_of("cpu") == torch.device("cpu")
    assert device_of("auto").type in ("cpu", "cuda")
    with pytest.raises(InputError, match="is no device"):
        device_of("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            CohortProgram(make_plan(noise="none"), cohort_of(mlp).task, {}, device="cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("model", MODELS)
def test_a_graphics_card_computes_the_same(model: str) -> None:
    cohort = cohort_of(MODELS[model], RAGGED, device="cuda", local_steps=3)
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert float((found - expected).abs().max()) < 1e-4  # other products, in another order
    private = cohort_of(MODELS[model], RAGGED, device="cuda", noise="distributed")
    sums = private.together(lambda program, *round_: program.clipped_gradients(*round_, 0.4))
    own = private.one_by_one(lambda work: work.clipped_gradients(0.4))
    assert float((sums - own).abs().max()) < 1e-9


@pytest.mark.parametrize("unit", ["record", "patient"])
@pytest.mark.parametrize("model", MODELS)
def test_a_class_weighs_at_every_site_of_a_cohort_what_it_weighs_by_itself(model: str, unit: str) -> None:
    cohort = cohort_of(MODELS[model], unit=unit, noise="distributed", class_weights=(0.02, 1.0))
    found = cohort.together(lambda program, *round_: program.clipped_gradients(*round_, 0.4))
    expected = cohort.one_by_one(lambda work: work.clipped_gradients(0.4))
    assert float((found - expected).abs().max()) < 1e-9
    assert cohort.program.way(cohort.terms, torch.float64).net is not None
    unweighted = replace(cohort, task=replace(cohort.task, class_weights=()))
    assert (
        float((expected - unweighted.one_by_one(lambda work: work.clipped_gradients(0.4))).abs().max()) > 0.1
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_a_class_weighs_the_same_where_nothing_is_clipped(model: str, optimizer: str) -> None:
    weights = (0.02, 1.0)
    cohort = cohort_of(MODELS[model], local_steps=3, class_weights=weights, **OPTIMIZERS[optimizer])
    found, expected = cohort.together(updates), cohort.one_by_one(lambda work: work.update())
    assert float((found - expected).abs().max()) < 1e-5
    assert cohort.program.way(cohort.terms, torch.float32).net is not None
