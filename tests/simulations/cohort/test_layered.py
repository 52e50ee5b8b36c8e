"""Convolutions at many sites by products: what `torch.func` finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from federation.model.task import Dataset, Task, cross_entropy
from simulations.cohort import batches
from simulations.cohort.batches import Stack, drawn
from simulations.cohort.general import General
from simulations.cohort.layered import Layered
from simulations.cohort.nets import Batch, Net, batch_of
from tests.simulations.cohort.cohorts import Skipping, cohort_of, updates

CPU, WIDE = torch.device("cpu"), torch.float64
SHAPE = (2, 7, 6)
SIZES = (2, 0, 6, 1)


def small() -> nn.Module:
    """Two convolutions that differ in all settings, a pool, and a linear layer without a bias."""
    first = nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0))
    second = nn.Conv2d(3, 4, 2, dilation=(1, 2), bias=False)
    return nn.Sequential(
        first, nn.ReLU(), second, nn.Tanh(), nn.AvgPool2d(1), nn.Flatten(), nn.Linear(36, 2, bias=False)
    )


def _data(size: int, seed: int = 1) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(size, *SHAPE, generator=generator).to(WIDE)
    return Dataset(features, torch.randint(0, 2, (size,), generator=generator))


def _batch(
    *, patients: bool = False, spoil: float | None = None, class_weights: tuple[float, ...] = ()
) -> Batch:
    sites = [_data(size, seed) for seed, size in enumerate(SIZES)]
    if patients:
        sites = [Dataset(site.features, site.labels, torch.arange(len(site)) // 2) for site in sites]
    if spoil is not None:
        sites[2].features[3, 0, 2, 2] = spoil
    stack = Stack.of(sites, CPU)
    (whole,) = drawn(stack, (), 1.0, 1, np.ones(len(SIZES)))
    return batch_of(stack, whole, WIDE, class_weights)


def _both(code: Callable[[Net, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    task, found = Task("made-up", small, cross_entropy), []
    for net in (Layered(task, _data(0), WIDE), General(task, CPU, WIDE)):
        generator = torch.Generator().manual_seed(2)
        net.begin(torch.randn(net.size, generator=generator, dtype=WIDE) / 3, len(SIZES))
        found.append(code(net, torch.empty((len(SIZES), net.size), dtype=WIDE)))
    return found[0], found[1]


@pytest.fixture(params=[10**6, 0], ids=["one block each", "further blocks"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_ANY", request.param)
    monkeypatch.setattr(batches, "_EXTRA", 0)


@pytest.mark.usefixtures("_blocks")
def test_sums_of_gradients_are_those_of_autograd() -> None:
    found, expected = _both(lambda net, out: net.rows(net.gradients(_batch()), out))
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert float(expected.abs().max()) > 0.1


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("norm", [1e-3, 0.5, 1e3])
@pytest.mark.parametrize("patients", [False, True], ids=["records", "patients"])
def test_clipped_sums_are_those_of_autograd(patients: bool, norm: float) -> None:
    for weights in ((), (1.0, 0.01)):
        batch = _batch(patients=patients, class_weights=weights)
        found, expected = _both(lambda net, out, batch=batch: net.clipped(batch, norm, out))
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12 * norm)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
@pytest.mark.parametrize("patients", [False, True], ids=["records", "patients"])
def test_a_record_that_is_not_finite_is_left_out(patients: bool, value: float) -> None:
    found, expected = _both(lambda net, out: net.clipped(_batch(patients=patients, spoil=value), 0.5, out))
    assert torch.isfinite(found).all()
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("unit", ["record", "patient"])
def test_it_is_the_way_of_small_convolutions(unit: str) -> None:
    cohort = cohort_of(small, unit=unit, noise="distributed", shape=SHAPE)
    found = cohort.together(lambda program, *round_: program.clipped_gradients(*round_, 0.4))
    assert type(cohort.program.way(cohort.terms, WIDE).net) is Layered
    assert float((found - cohort.one_by_one(lambda work: work.clipped_gradients(0.4))).abs().max()) < 1e-9
    plain = cohort_of(small, shape=SHAPE, local_steps=3)
    expected = plain.one_by_one(lambda work: work.update())
    assert float((plain.together(updates) - expected).abs().max()) < 1e-5
    assert type(plain.program.way(plain.terms, torch.float32).net) is Layered


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "code of its own": Skipping,
    "groups": lambda: nn.Sequential(nn.Conv2d(2, 4, 2, groups=2), nn.Flatten(), nn.Linear(120, 2)),
    "another padding": lambda: nn.Sequential(
        nn.Conv2d(2, 1, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(42, 2)
    ),
    "padding by name": lambda: nn.Sequential(
        nn.Conv2d(2, 1, 3, padding="same"), nn.Flatten(), nn.Linear(42, 2)
    ),
    "another layer with weights": lambda: nn.Sequential(nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(84, 2)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_any_other_model_is_not_for_it(other: str) -> None:
    with pytest.raises(TypeError):
        Layered(Task("made-up", OTHERS[other], cross_entropy), _data(0), WIDE)


def test_a_model_whose_work_torch_cannot_count_is_trained_together_all_the_same() -> None:
    def normed() -> nn.Module:
        return nn.Sequential(
            nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), nn.Tanh(), nn.Linear(4, 2)
        )

    cohort = cohort_of(normed, unit="record", noise="distributed")
    found = cohort.together(lambda program, *round_: program.clipped_gradients(*round_, 0.4))
    assert type(cohort.program.way(cohort.terms, WIDE).net) is General
    assert float((found - cohort.one_by_one(lambda work: work.clipped_gradients(0.4))).abs().max()) < 1e-9
