"""The share of records, or patients, that clipping shortens: counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clients.training.per_example import functorch
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, Task, cross_entropy
from simulations.scoring import clipping
from simulations.scoring.clipping import clipped_share
from tests.clients.sites import make_plan

TASK = Task("made-up", lambda: nn.Linear(4, 2), cross_entropy, class_weights=(0.1, 1.0))


def _data(seed: int, records: int = 40) -> Dataset:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(records, 4, generator=generator)
    labels = torch.randint(0, 2, (records,), generator=generator)
    return Dataset(features, labels, torch.arange(records) // 4)


def _rows(params: torch.Tensor, data: Dataset) -> torch.Tensor:
    model = TASK.model()
    Layout.of(model).load(model, params)
    with functorch(model.double(), cross_entropy) as per_record:
        return torch.cat([g.flatten(1) for g in per_record(data.features.double(), data.labels)], 1)


@pytest.mark.parametrize("unit", ["record", "patient"])
def test_the_share_is_that_of_gradients_longer_than_the_norm(unit: str) -> None:
    plan = make_plan(unit, "distributed", clipping_norm=1.2)
    data = {"ash": _data(1), "birch": _data(2), "cedar": _data(3, 0)}
    last = initial_params(TASK.model, 99) * 5
    found = clipped_share(plan, TASK, data, last)
    assert found is not None
    for params, share in (
        (initial_params(TASK.model, plan.federation.seed), found.first),
        (last, found.last),
    ):
        lengths = []
        for one in data.values():
            rows = _rows(params, one) if len(one) else torch.zeros(0, 10, dtype=torch.float64)
            if unit == "patient":
                rows = rows * torch.tensor(TASK.class_weights, dtype=torch.float64)[one.labels][:, None]
                rows = rows.view(-1, 4, 10).sum(1)
            lengths.append(rows.norm(dim=1))
        flat = torch.cat(lengths)
        assert share == pytest.approx(float((flat > 1.2).double().mean())) and found.units == len(flat)
        assert 0 < share < 1


def test_many_records_are_looked_at_in_part_and_whole_patients_stay_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clipping, "_MOST_UNITS", 6)
    found = clipped_share(make_plan("patient", "distributed"), TASK, {"ash": _data(1)}, torch.zeros(10))
    assert found is not None and found.units == 7


@pytest.mark.parametrize(("unit", "noise"), [("client", "distributed"), ("record", "none")])
def test_where_no_record_is_clipped_there_is_no_share(unit: str, noise: str) -> None:
    assert clipped_share(make_plan(unit, noise), TASK, {"ash": _data(1)}, torch.zeros(10)) is None
