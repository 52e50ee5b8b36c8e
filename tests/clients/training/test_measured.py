"""Bounded sums of numbers, counts and times: a person moves them by at most the norm that noise is for (DP-55)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clients.training.counted import counts
from clients.training.isolation import Tally
from federation.kinds.cells import blocks_of
from federation.kinds.moments import Numbers
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask
from tests.outcomes import KINDS
from tests.plans import plan_of

PATIENTS = torch.tensor([0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 4])
LABELS = {
    "regression": torch.linspace(-1, 1, 12),
    "survival": torch.arange(12) % 7,
    "counts": torch.arange(12),
    "exposure": torch.stack([torch.arange(12.0), torch.arange(12.0) % 3], dim=1),
}


def plan_with(name: str, unit: str = "patient") -> Plan:
    evaluation = {"evaluation.epsilon": 1.0, "evaluation.groups": ["cp"], "evaluation.bins": 4}
    if name == "survival":
        evaluation["evaluation.metrics"] = ["mean_brier"]
    patient = {"task.patient": "mrn", "privacy.unit": "patient"} if unit == "patient" else {}
    return plan_of({**KINDS[name], **evaluation, **patient})


def data_of(plan: Plan, name: str) -> Dataset:
    assert isinstance(plan.task, TabularTask)
    features = torch.zeros(12, plan.task.inputs)
    features[:, 0] = torch.linspace(-1, 1, 12)
    features[torch.arange(12), 1 + torch.arange(12) % 4] = 1.0
    return Dataset(features, LABELS[name], PATIENTS if plan.task.patient else None)


def summed(plan: Plan, data: Dataset) -> Tensor:
    blocks, task = blocks_of(plan), build_task(plan)
    model = task.model().double()
    with torch.no_grad():
        for number, weights in enumerate(model.parameters()):
            weights.copy_(torch.linspace(-2, 3 + number, weights.numel()).reshape(weights.shape))
    assert blocks is not None
    return counts(model, task, plan, blocks, data, Tally())


@pytest.mark.parametrize("name", KINDS)
def test_a_patient_counts_with_the_mean_of_their_records_and_moves_no_more_than_the_norm(name: str) -> None:
    plan, by_record = plan_with(name), plan_with(name, "record")
    data, blocks = data_of(plan, name), blocks_of(plan)
    assert blocks is not None
    total = summed(plan, data)
    assert len(total) == blocks.length
    for patient in range(5):
        mine = data.at(PATIENTS.eq(patient))
        others = summed(plan, data.at(PATIENTS.ne(patient)))
        alone = replace(mine, patients=None)
        mean = summed(by_record, alone) / len(mine)
        torch.testing.assert_close(total - others, mean)
        assert 0 < float(mean.norm()) <= blocks.norm + 1e-9


@pytest.mark.parametrize("name", KINDS)
def test_a_record_is_in_the_block_of_its_group(name: str) -> None:
    plan = plan_with(name, "record")
    data, blocks = data_of(plan, name), blocks_of(plan)
    assert blocks is not None
    total = summed(plan, data).view(4, blocks.block)
    for group in range(4):
        rows = data.at(torch.arange(12) % 4 == group)
        torch.testing.assert_close(summed(plan, rows).view(4, -1)[group], total[group])
        assert float((summed(plan, rows).view(4, -1)[torch.arange(4) != group]).abs().sum()) == 0
    assert not summed(plan, data.at(torch.arange(0))).any()
    if isinstance(blocks, Numbers):
        assert float(total[:, 0].sum()) == 12 * blocks.weights[0]


@pytest.mark.parametrize("name", KINDS)
def test_a_model_that_says_no_number_is_no_error_and_no_longer(name: str) -> None:
    plan = plan_with(name, "record")
    data, blocks, task = data_of(plan, name), blocks_of(plan), build_task(plan)
    model = task.model().double()
    with torch.no_grad():
        for weights in model.parameters():
            weights.fill_(float("nan"))
    assert blocks is not None
    found = counts(model, task, plan, blocks, data.at(torch.arange(1)), Tally())
    assert bool(torch.isfinite(found).all())
    assert 0 < float(found.norm()) <= blocks.norm + 1e-9
