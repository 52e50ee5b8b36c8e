"""The backward pass by hand: what `torch.func` finds, also where numbers are extreme."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from federation.model.losses import Huber, Poisson, Single, Squared
from federation.model.task import Dataset, Task, cross_entropy
from simulations.cohort import batches
from simulations.cohort.batches import Stack, drawn
from simulations.cohort.dense import Dense
from simulations.cohort.general import General
from simulations.cohort.layers import layers_of
from simulations.cohort.nets import Batch, Net, batch_of
from tests.simulations.cohort.cohorts import FEATURES, Skipping, deep, logistic, mlp

CPU, WIDE = torch.device("cpu"), torch.float64
SIZES = (3, 0, 12, 1, 4)


def _task(model: Callable[[], nn.Module]) -> Task:
    return Task("made-up", model, cross_entropy)


def _batch(scale: float = 1.0, *, patients: bool = False, weights: Sequence[float] = (1.0,) * 5) -> Batch:
    generator = torch.Generator().manual_seed(1)
    sites = [
        Dataset(
            torch.randn(size, FEATURES, generator=generator).to(WIDE) * scale,
            torch.randint(0, 2, (size,), generator=generator),
            torch.arange(size) // 2 if patients else None,
        )
        for size in SIZES
    ]
    stack = Stack.of(sites, CPU)
    (whole,) = drawn(stack, (), 1.0, 1, np.array(weights))
    return batch_of(stack, whole, WIDE)


def _rows(net: Net, dimension: int, code: Callable[[Net, Tensor], Tensor]) -> Tensor:
    net.begin(torch.linspace(-1, 1, dimension, dtype=WIDE), len(SIZES))
    return code(net, torch.empty((len(SIZES), dimension), dtype=WIDE))


def _both(model: Callable[[], nn.Module], code: Callable[[Net, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    task = _task(model)
    layers = layers_of(task)
    assert layers is not None
    dimension = sum(each.numel() for each in model().parameters())
    general = General(task, CPU, WIDE)
    return _rows(Dense(layers), dimension, code), _rows(general, dimension, code)


@pytest.fixture(params=[10**6, 0], ids=["one block each", "further blocks"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_ANY", request.param)
    monkeypatch.setattr(batches, "_EXTRA", 0)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("model", [logistic, mlp, deep])
def test_sums_of_gradients_are_those_of_autograd(model: Callable[[], nn.Module]) -> None:
    found, expected = _both(
        model, lambda net, out: net.rows(net.gradients(_batch(weights=(1.0, 1.0, 0.5, 1.0, 2.0))), out)
    )
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert not found[1].any()  # of no records


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("norm", [1e-3, 0.5, 1e3])
@pytest.mark.parametrize("patients", [False, True], ids=["records", "patients"])
@pytest.mark.parametrize("model", [logistic, mlp, deep])
def test_clipped_sums_are_those_of_autograd(
    model: Callable[[], nn.Module], patients: bool, norm: float
) -> None:
    found, expected = _both(model, lambda net, out: net.clipped(_batch(patients=patients), norm, out))
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12 * norm)


@pytest.mark.parametrize("scale", [1e-200, 1e-120, 1e120, 1e160, 1e308])
def test_lengths_at_the_ends_of_float64_are_clipped_with_care(scale: float) -> None:
    """One layer: in further ones activations of that size are at their ends, too."""
    found, expected = _both(logistic, lambda net, out: net.clipped(_batch(scale), 0.5, out))
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def _shared() -> nn.Module:
    layer = nn.Linear(FEATURES, FEATURES)
    return nn.Sequential(layer, nn.ReLU(), layer)


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "a layer twice": _shared,
    "code of its own": Skipping,
    "an activation at the end": lambda: nn.Sequential(nn.Linear(FEATURES, 2), nn.ReLU()),
    "two activations": lambda: nn.Sequential(nn.Linear(FEATURES, 3), nn.Tanh(), nn.Tanh(), nn.Linear(3, 2)),
    "an activation first": lambda: nn.Sequential(nn.Tanh(), nn.Linear(FEATURES, 2)),
    "another layer": lambda: nn.Sequential(nn.Linear(FEATURES, 4), nn.LayerNorm(4), nn.Linear(4, 2)),
    "nothing linear": lambda: nn.Sequential(nn.LayerNorm(FEATURES)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_any_other_model_is_not_batched_by_hand(other: str) -> None:
    assert layers_of(_task(OTHERS[other])) is None


def test_another_loss_is_not_batched_by_hand() -> None:
    assert layers_of(Task("made-up", mlp, lambda outputs, labels: cross_entropy(outputs, labels) * 2)) is None


@pytest.mark.parametrize("patients", [False, True], ids=["records", "patients"])
@pytest.mark.parametrize("pairs", [False, True], ids=["labels of one number", "of two"])
@pytest.mark.parametrize("loss", [Squared(), Huber(0.3), Poisson()], ids=["squared", "huber", "poisson"])
def test_losses_of_one_output_are_those_of_autograd(loss: Single, pairs: bool, patients: bool) -> None:
    if pairs and not isinstance(loss, Poisson):
        return  # only counts have an exposure
    batch = _batch(patients=patients)
    numbers = batch.labels.to(torch.float32)
    batch = replace(batch, labels=torch.stack([numbers, numbers + 0.5], dim=-1) if pairs else numbers)
    task = Task("made-up", lambda: nn.Sequential(nn.Linear(FEATURES, 5), nn.Tanh(), nn.Linear(5, 1)), loss)
    layers = layers_of(task)
    assert layers is not None
    dimension = sum(each.numel() for each in task.model().parameters())
    for code in (
        lambda net, out: net.rows(net.gradients(batch), out),
        lambda net, out: net.clipped(batch, 0.5, out),
    ):
        found = _rows(Dense(layers, loss), dimension, code)
        assert torch.allclose(found, _rows(General(task, CPU, WIDE), dimension, code), rtol=1e-9, atol=1e-12)
