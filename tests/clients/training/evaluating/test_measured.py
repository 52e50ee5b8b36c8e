"""Bounded sums of numbers, counts and times: a person moves them by at most the norm that noise is for (DP-55)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clients.training.evaluating.counted import counts
from clients.training.evaluating.measured import of_numbers, of_times
from clients.training.isolation import Tally
from federation.kinds.cells import blocks_of
from federation.kinds.moments import Numbers, Times
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


_ODD = (0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1e-300, -1e-300, 5e-324, 1e300, -1e300, 709.0, 710.0, -745.0, 13.0)
ODD = torch.tensor([*_ODD, float("nan"), float("inf"), float("-inf")], dtype=torch.float64)
EXPOSURES = torch.tensor([0.0, 1e-45, 1e-38, 1e-3, 1.0, 365.25, 3e38, float("inf")])


@pytest.mark.parametrize("bins", [0, 1, 2, 7])
@pytest.mark.parametrize("most", [1, 2, 7, 10**6])
def test_whatever_is_said_of_a_number_or_a_count_no_record_is_longer_than_the_reach(
    most: int, bins: int
) -> None:
    """Each odd output beside each end of the range, and each odd exposure; so is a patient, the mean of some."""
    ends = torch.tensor([-1.0, 1.0, 0.0, 1 / 3])
    seen = torch.unique(torch.tensor([0, 1, most // 2, most - 1, most]))
    outputs, exposed = (
        torch.cartesian_prod(ODD, seen.double())[:, :1],
        torch.cartesian_prod(ODD, seen.double()),
    )
    cases = [
        (Numbers(-3.0, 4.0, bins, ()), *_crossed(ODD, ends)),
        (Numbers(0.0, float(most), bins, (), is_count=True), outputs, exposed[:, 1].long()),
    ]
    outs, counted, exposures = torch.cartesian_prod(ODD, seen.double(), EXPOSURES.double()).unbind(1)
    pairs = torch.stack([counted, exposures], dim=1).float()
    cases.append((Numbers(0.0, float(most), bins, (), is_count=True), outs[:, None], pairs))
    for blocks, said, labels in cases:
        _require_short(of_numbers(blocks, said, labels), blocks.reach)


@pytest.mark.parametrize("bins", [1, 2, 10])
@pytest.mark.parametrize("ends", [1, 2, 5])
def test_whatever_is_said_of_a_time_no_record_is_longer_than_the_reach(ends: int, bins: int) -> None:
    generator = torch.Generator().manual_seed(ends)
    said = ODD[torch.randint(len(ODD), (3000, ends), generator=generator)]
    labels = torch.arange(3000) % (2 * ends + 1)
    blocks = Times(tuple(float(end + 1) for end in range(ends)), bins, True, ())
    rows = of_times(blocks, said, labels)
    _require_short(rows, blocks.reach)
    assert torch.allclose(rows[:, : blocks.cells].sum(dim=1), torch.ones(3000, dtype=torch.float64))


def _crossed(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    pairs = torch.cartesian_prod(one, other.double())
    return pairs[:, :1], pairs[:, 1].float()


def _require_short(rows: Tensor, reach: float) -> None:
    assert torch.isfinite(rows).all()
    assert float(rows.norm(dim=1).max()) <= reach * (1 + 1e-12)
