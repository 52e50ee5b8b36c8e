"""Cells of a histogram: one record moves all of them together by at most the norm that noise is for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clients.training.counted import counts
from clients.training.isolation import Tally
from federation.errors import PlanError
from federation.kinds.cells import cells_of
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan, parse
from tests.worlds import text_of

PEOPLE = 12


def plan_with(more: str, **values: object) -> Plan:
    text = text_of(noise="distributed", **values)
    return parse(text.replace("holdout = 0.25", f"holdout = 0.25\nepsilon = 1.0\n{more}"))


def counted(plan: Plan, data: Dataset, model: nn.Module) -> torch.Tensor:
    cells = cells_of(plan)
    assert cells is not None
    return counts(model.double(), build_task(plan), plan, cells, data, Tally())


def data_of(plan: Plan, count: int) -> Dataset:
    made = torch.Generator().manual_seed(3)
    features = torch.rand(count, plan.task.inputs, generator=made) * 2 - 1
    return Dataset(features, torch.randint(0, 2, (count,), generator=made))


def test_a_record_is_in_one_cell_and_an_empty_site_in_none() -> None:
    plan = plan_with("bins = 7")
    data, model = data_of(plan, PEOPLE), build_task(plan).model()
    total = counted(plan, data, model)
    assert float(total.sum()) == PEOPLE
    for row in range(PEOPLE):
        kept = data.at(torch.arange(PEOPLE) != row)
        assert (total - counted(plan, kept, model)).abs().sort().values[-2:].tolist() == [0.0, 1.0]
    assert not counted(plan, data.at(torch.arange(0)), model).any()


def test_a_score_that_is_no_number_is_in_one_cell() -> None:
    plan = plan_with("bins = 7")
    model = build_task(plan).model()
    with torch.no_grad():
        for weights in model.parameters():
            weights.fill_(float("nan"))
    assert float(counted(plan, data_of(plan, PEOPLE), model).sum()) == PEOPLE


def test_the_threshold_is_an_edge() -> None:
    cells = cells_of(plan_with("bins = 7\nthreshold = 0.3"))
    assert cells is not None
    assert 0.3 in cells.edges
    assert cells.bins == 8


@pytest.mark.parametrize(
    "more", ['groups = ["nobody"]', "bins = 1", "bins = 101"], ids=["column", "few", "many"]
)
def test_cells_that_are_not_public_are_refused(more: str) -> None:
    with pytest.raises(PlanError):
        plan_with(more)
