"""What a site adds to a published evaluation: bounded per record or patient, right, and nothing beside it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from clients.training.evaluating.held_out import figures
from clients.training.work import SiteWork, Trainer
from federation.errors import DataError
from federation.kinds.figures import FIGURES_NORM, LOSS_BOUND
from federation.model.params import Layout
from federation.model.sequences import gru
from federation.model.task import Dataset, Task, cross_entropy
from privacy.mechanism.noise import Stream
from tests.clients.sites import make_plan, make_terms

SLACK = 1 + 1e-9


def task_of(weights: Tensor) -> tuple[nn.Module, Task]:
    """A linear model of two classes with these weights (2, 2)."""
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(weights)

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, labels, reduction="none")

    return model, Task("linear", lambda: model, loss)


def data_of(count: int, seed: int = 0, scale: float = 1.0) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 2, generator=generator) * scale
    return Dataset(features, torch.randint(0, 2, (count,), generator=generator))


def without(data: Dataset, rows: list[int]) -> Dataset:
    kept = torch.tensor([place for place in range(len(data)) if place not in rows], dtype=torch.int64)
    people = None
    if data.patients is not None:
        people = torch.unique(data.patients[kept], return_inverse=True)[1]
    return Dataset(data.features[kept], data.labels[kept], people)


def test_the_sums_are_right_answers_wrong_answers_and_losses_as_torch_has_them() -> None:
    model, task = task_of(torch.tensor([[1.0, -0.5], [-1.0, 0.5]]))
    data = data_of(50)
    outputs = model(data.features)
    right = int((outputs.argmax(1) == data.labels).sum())
    losses = functional.cross_entropy(outputs, data.labels, reduction="none").clamp(0, LOSS_BOUND)
    found = figures(model, task, data, whole_patients=False)
    assert found.dtype == torch.float64
    assert found[:2].tolist() == [right, 50 - right]
    assert float(found[2]) == pytest.approx(float(losses.sum().detach()) / LOSS_BOUND, rel=1e-5)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_an_answer_is_the_second_class_from_the_threshold_on(threshold: float) -> None:
    model, task = task_of(torch.tensor([[1.0, -0.5], [-1.0, 0.5]]))
    data = data_of(50)
    answers = torch.softmax(model(data.features), 1)[:, 1] >= threshold
    right = int((answers.long() == data.labels).sum())
    found = figures(model, task, data, whole_patients=False, threshold=threshold)
    assert found[:2].tolist() == [right, 50 - right]
    assert float(found[2]) == float(figures(model, task, data, whole_patients=False)[2])


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 30), seed=st.integers(0, 50), scale=st.sampled_from([0.1, 1.0, 1e3, 1e30, 3e38]))
def test_one_record_moves_the_sums_by_no_more_than_the_noise_is_made_for(
    count: int, seed: int, scale: float
) -> None:
    """DP-55: the sensitivity that the charge to the held-out records counts on, whatever a record holds."""
    model, task = task_of(torch.tensor([[3.0, -2.0], [-1.0, 4.0]]))
    data = data_of(count, seed, scale)
    whole = figures(model, task, data, whole_patients=False)
    moved = whole - figures(model, task, without(data, [count - 1]), whole_patients=False)
    assert torch.isfinite(whole).all()
    assert float(moved.norm()) <= FIGURES_NORM * SLACK


@settings(max_examples=40, deadline=None)
@given(records=st.lists(st.integers(1, 9), min_size=1, max_size=6), seed=st.integers(0, 50))
def test_one_patient_moves_them_by_no_more_either_however_many_records_they_have(
    records: list[int], seed: int
) -> None:
    model, task = task_of(torch.tensor([[3.0, -2.0], [-1.0, 4.0]]))
    plain = data_of(sum(records), seed, 5.0)
    people = torch.repeat_interleave(torch.arange(len(records)), torch.tensor(records))
    data = Dataset(plain.features, plain.labels, people)
    last = [place for place, who in enumerate(people.tolist()) if who == len(records) - 1]
    less = without(data, last)
    before = figures(model, task, data, whole_patients=True)
    after = figures(model, task, less, whole_patients=True)
    assert float((before - after).norm()) <= FIGURES_NORM * SLACK
    # The failing control: record by record, a patient with many records moves the sums by far more.
    if records[-1] >= 3:
        loose = figures(model, task, data, whole_patients=False) - figures(
            model, task, less, whole_patients=False
        )
        assert float(loose.norm()) > FIGURES_NORM


def test_nothing_held_out_and_a_model_that_diverged_give_figures_too() -> None:
    model, task = task_of(torch.full((2, 2), math.nan))
    data = data_of(4)
    for nothing in (None, without(data, [0, 1, 2, 3])):
        assert figures(model, task, nothing, whole_patients=False).tolist() == [0.0, 0.0, 0.0]
    right, wrong, loss = figures(model, task, data, whole_patients=False).tolist()
    assert (right + wrong, loss) == (4.0, 4.0)


def test_patients_who_are_not_known_are_not_taken_for_records() -> None:
    model, task = task_of(torch.eye(2))
    with pytest.raises(DataError, match="whose"):
        figures(model, task, data_of(3), whole_patients=True)


def test_a_record_more_turns_no_answer_of_another() -> None:
    """Rows of a batch are rounded by where they stand: in float32 that decides between equal scores."""
    generator = torch.Generator().manual_seed(0)
    model = gru(64, 2, 16)
    last, plan = model[2].bias, make_plan("record", "site")
    for _ in range(30):
        record = torch.rand(1, 64, generator=generator) * 2 - 1
        with torch.no_grad():
            said = model(record.repeat(64, 1))[0]
            last[0] += said[1] - said[0]
        layout, task = Layout.of(model), Task("series", lambda: gru(64, 2, 16), cross_entropy)
        terms = replace(make_terms(plan), dimension=layout.dimension)
        found = []
        for count in (33, 34, 35):
            held = Dataset(record.repeat(count, 1), torch.zeros(count, dtype=torch.int64))
            trainer = Trainer(task, held, lambda _: Stream(bytes(32)), held)
            found.append(
                SiteWork(terms, "amsterdam", layout.flatten(model), trainer, Stream(bytes(32))).figures()
            )
        for fewer, more in pairwise(found):
            assert float((more - fewer).norm()) <= FIGURES_NORM * SLACK
