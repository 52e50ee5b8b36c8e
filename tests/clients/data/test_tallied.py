"""What a record adds to a histogram: one cell of each column, and a patient no more than one record."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clients.data.load import read_data
from federation.model.task import build_task
from federation.plan.plan import Plan, parse
from tests.federation.plan.tallies.test_tasks import STATISTICS

ROWS = (
    "who,age,seen,sex\na,0,2000-01-01,F\na,80,2020-12-31,M\nb,?,,x\nc,-5,2010-01-01,\nc,39.9,2010-01-01,F\n"
)


def _data(tmp_path: Path, plan: Plan) -> torch.Tensor:
    (tmp_path / "site.csv").write_text(ROWS)
    data = read_data(tmp_path / "site.csv", plan, build_task(plan))
    assert data.labels.tolist() == [0] * 5
    if data.patients is None or plan.privacy.unit != "patient":
        return data.features
    return torch.zeros(3, data.features.shape[1]).index_add_(0, data.patients, data.features)


def test_a_record_is_in_one_cell_of_each_column(tmp_path: Path) -> None:
    rows = _data(tmp_path, parse(STATISTICS))
    assert rows.tolist() == [
        [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0],
        [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1],
        [0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
    ]


def test_a_patient_counts_with_the_mean_of_their_records(tmp_path: Path) -> None:
    text = STATISTICS.replace('unit = "record"', 'unit = "patient"').replace(
        "bins = 4", 'bins = 4\npatient = "who"'
    )
    plan = parse(text)
    people = _data(tmp_path, plan)
    assert people.sum(dim=1).tolist() == pytest.approx([3, 3, 3])
    assert people[0].tolist() == [0.5, 0, 0, 0.5, 0, 0.5, 0, 0, 0.5, 0, 0.5, 0.5, 0, 0]
    assert bool((people.norm(dim=1) <= plan.task.norm + 1e-6).all())  # type: ignore[union-attr]
