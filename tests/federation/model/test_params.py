"""Models as one flat vector, and the models that cannot be one."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parameters_to_vector

from federation.errors import TaskError
from federation.model.params import Layout, initial_params
from federation.model.task import Task, cross_entropy


@settings(max_examples=25)
@given(widths=st.lists(st.integers(1, 7), min_size=2, max_size=5))
def test_a_vector_loaded_and_flattened_is_the_same_vector(widths: list[int]) -> None:
    model = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))
    layout = Layout.of(model)
    vector = torch.arange(layout.dimension, dtype=torch.float32)
    layout.load(model, vector)
    assert torch.equal(layout.flatten(model), vector)
    assert torch.equal(parameters_to_vector(model.parameters()).detach(), vector)  # torch's own order
    assert layout.dimension == sum(a * b + b for a, b in pairwise(widths))


def test_a_flattened_vector_is_a_copy() -> None:
    model = nn.Linear(2, 2)
    layout = Layout.of(model)
    before = layout.flatten(model)
    layout.load(model, before + 1)
    assert torch.equal(layout.flatten(model), before + 1)
    assert not torch.equal(before, before + 1)


def test_a_vector_of_another_length_is_refused() -> None:
    model = nn.Linear(2, 2)
    for wrong in (torch.zeros(5), torch.zeros(7), torch.zeros(1), torch.zeros(6, 1)):
        with pytest.raises(TaskError):
            Layout.of(model).load(model, wrong)


def test_another_model_is_refused() -> None:
    with pytest.raises(TaskError, match="layout"):
        Layout.of(nn.Linear(2, 2)).flatten(nn.Linear(2, 3))


class Aliased(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("mean", self.layer.bias.detach())


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), 'BatchNorm1d at "1" mixes the records'),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm2d(2, affine=False)), "mixes"),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)), "mixes"),
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2).requires_grad_(False)), "mixes"),
        (nn.Sequential(nn.Linear(2, 2), nn.InstanceNorm1d(2, track_running_stats=True)), "keeps statistics"),
        (nn.SyncBatchNorm(2), "SyncBatchNorm mixes"),
        (Aliased(), '"mean" shares its memory with "layer.bias"'),
        (nn.ReLU(), "no parameters"),
        (nn.Linear(2, 2).requires_grad_(False), "nothing to train"),
        (nn.Linear(2, 2).double(), "float64"),
        (nn.Linear(2, 2).half(), "float16"),
        (nn.Linear(2, 2).to(torch.bfloat16), "bfloat16"),
    ],
)
def test_a_model_that_cannot_be_private_or_travel_is_refused(model: nn.Module, expected: str) -> None:
    with pytest.raises(TaskError, match=expected):
        Layout.of(model)


def test_a_lazy_model_is_refused() -> None:
    with pytest.raises(TaskError, match="lazy"):
        Layout.of(nn.LazyLinear(2))


def test_norms_that_keep_records_apart_are_fine() -> None:
    Layout.of(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.GroupNorm(2, 4)))


def test_initial_params_are_of_the_seed_alone() -> None:
    task = Task("t", lambda: nn.Linear(3, 2), cross_entropy)
    first = initial_params(task.model, 7)
    torch.rand(5)
    assert torch.equal(initial_params(task.model, 7), first)
    assert not torch.equal(initial_params(task.model, 8), first)
    assert first.dtype == torch.float32 and first.shape == (8,)


def test_initial_params_leave_torchs_generator_alone() -> None:
    task = Task("t", lambda: nn.Linear(3, 2), cross_entropy)
    state = torch.get_rng_state()
    initial_params(task.model, 7)
    assert torch.equal(torch.get_rng_state(), state)
