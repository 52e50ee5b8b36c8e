"""Weights of classes: after a record's clip, before a patient's, and in the loss where nothing is clipped."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from clients.training.dpsgd import clipped_gradient
from clients.training.local import plain_gradient
from clients.training.sums import ROUTES, clipped_sums
from federation.errors import TaskError
from federation.model.task import Task, cross_entropy
from privacy.errors import UnsafeParameters
from tests.clients.training.test_dpsgd import CLASSES, FEATURES, make_batch, make_model, row_of

WEIGHTS = (0.001, 1.0, 0.25)
NORM = 2.0


def shortened(row: Tensor) -> Tensor:
    return row * min(1.0, NORM / float(row.norm()))


@pytest.mark.parametrize("route", [*ROUTES, "alone"])
def test_a_record_counts_its_weight_after_it_was_clipped(route: str) -> None:
    model, (features, labels) = make_model(1), make_batch(31, 2)
    rows = [row_of(model, *one) for one in zip(features, labels, strict=True)]
    lengths = [float(row.norm()) for row in rows]
    assert min(lengths) < NORM < max(lengths)
    expected = sum(WEIGHTS[int(label)] * shortened(row) for row, label in zip(rows, labels, strict=True))
    with clipped_sums(route, model, cross_entropy, NORM, class_weights=WEIGHTS) as gradient:
        assert torch.allclose(gradient(features, labels), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("route", ["hooks", "functorch", "alone"])
@pytest.mark.parametrize("memory", [2**28, 1])
def test_a_patient_s_weighted_records_are_added_up_and_clipped_last(route: str, memory: int) -> None:
    model, (features, labels) = make_model(1), make_batch(31, 2)
    patients = torch.arange(31) % 9
    expected = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    for patient in range(9):
        own = torch.nonzero(patients == patient)[:, 0]
        expected += shortened(
            sum(WEIGHTS[int(labels[n])] * row_of(model, features[n], labels[n]) for n in own)
        )
    with clipped_sums(route, model, cross_entropy, NORM, memory, class_weights=WEIGHTS) as gradient:
        assert torch.allclose(gradient(features, labels, patients), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("patients", [False, True], ids=["record", "patient"])
@pytest.mark.parametrize("weights", list(itertools.permutations((1e-12, 1.0, 0.5))))
def test_one_unit_more_moves_a_sum_by_the_clipping_norm_at_most(
    weights: tuple[float, ...], patients: bool
) -> None:
    model, (features, labels) = make_model(1), make_batch(31, 2)
    features[-3:] *= 1e6  # far above the norm, of every class
    labels[-3:] = torch.arange(3)
    whose = torch.tensor([*range(28), 28, 28, 28]) if patients else None
    moved = []
    with clipped_gradient(model, cross_entropy, 0.3, class_weights=weights) as gradient:
        for gone in [slice(28, 31)] if patients else [slice(28, 29), slice(29, 30), slice(30, 31)]:
            kept = torch.ones(31, dtype=torch.bool)
            kept[gone] = False
            whole = gradient(features, labels, whose)
            without = gradient(features[kept], labels[kept], None if whose is None else whose[kept])
            moved.append(float((whole - without).norm()))
    assert max(moved) == pytest.approx(0.3, rel=1e-9)  # the heaviest, in full: no less noise would do
    assert all(one <= 0.3 * (1 + 1e-12) for one in moved)


def test_where_nothing_is_clipped_weights_are_in_the_loss() -> None:
    model, (features, labels) = make_model(1), make_batch(31, 2)
    gradient = plain_gradient(model, cross_entropy, class_weights=WEIGHTS)
    rows = [WEIGHTS[int(y)] * row_of(model, x, y) for x, y in zip(features, labels, strict=True)]
    assert torch.allclose(gradient(features, labels), sum(rows), rtol=0, atol=1e-11)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [0.0, -1.0, 1.0 + 1e-9, float("nan"), float("inf")])
def test_no_task_can_lengthen_what_was_clipped(weight: float) -> None:
    with pytest.raises(UnsafeParameters):
        Task("t", lambda: nn.Linear(FEATURES, CLASSES), cross_entropy, class_weights=(1.0, weight))


def test_a_task_of_one_s_own_cannot_have_weights_that_no_plan_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Task("t", lambda: nn.Linear(2, 2), cross_entropy, data=lambda _: None, class_weights=(1.0, 0.5))  # type: ignore[arg-type,return-value]
    monkeypatch.setattr("federation.model.task.imported", lambda _: own)
    from federation.model.task import _own

    with pytest.raises(TaskError, match="weights of classes"):
        _own("a.b:c")
