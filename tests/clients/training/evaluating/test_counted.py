"""Cells of a histogram: one record moves all of them together by at most the norm that noise is for (DP-55)."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from torch import nn

from clients.data.load import read_csv
from clients.training.evaluating.counted import counts
from clients.training.isolation import Tally
from federation.errors import PlanError
from federation.kinds.cells import CLASSES, Cells, blocks_of
from federation.model.task import Dataset, build_task
from federation.plan.layout import layout
from federation.plan.plan import Plan, parse
from federation.plan.tasks import Classification
from tests.worlds import text_of

PEOPLE = 12
CROSS = [["ward", "dose"]]


def plan_with(more: str, **values: object) -> Plan:
    text = text_of(noise="distributed", **values)
    return parse(text.replace("holdout = 0.25", f"holdout = 0.25\nepsilon = 1.0\n{more}"))


def counted(plan: Plan, data: Dataset, model: nn.Module) -> torch.Tensor:
    cells = blocks_of(plan)
    assert isinstance(cells, Cells)
    return counts(model.double(), build_task(plan), plan, cells, data, Tally())


def data_of(plan: Plan, count: int) -> Dataset:
    assert isinstance(plan.task, Classification)
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


WARDS = {"a": 5, "b": 0, "c": 7}
OF_WARDS: dict[str, dict[str, object]] = {
    "one table": {},
    "two tables": {"task.features": {"ward": {"values": ["a", "b", "c"]}, "cp": {"values": ["1", "2"]}}},
    "crossed": {"task.cross": [["ward", "dose"]]},
    "rows of length 1": {"task.cross": [["ward", "dose"]], "task.rows": "unit"},
    "other and missing": {
        "task.features": {
            "dose": {"low": -1, "high": 1},
            "ward": {"values": ["a", "b"], "other": True, "missing": "category"},
        }
    },
}


def read_as(plan: Plan, wards: Sequence[str]) -> Dataset:
    """Records of these wards as a site reads them; every other cell is as large as it can be."""
    assert isinstance(plan.task, Classification)
    others = {"age": "90", "dose": "1", "cp": "2"}
    names = [feature.name for feature in plan.task.features]
    rows = [
        [*(ward if name == "ward" else others[name] for name in names), "yes" if place % 2 else "no"]
        for place, ward in enumerate(wards)
    ]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "some.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([[*names, "sick"], *rows])
        return read_csv(path, plan.task)


@pytest.mark.parametrize("changes", OF_WARDS.values(), ids=OF_WARDS)
def test_each_group_holds_its_own_records_and_a_cross_is_no_group(changes: dict[str, object]) -> None:
    names = ["ward", "cp"] if "cp" in str(changes) else ["ward"]
    plan = plan_with(f"bins = 4\ngroups = {json.dumps(names)}", **changes)
    cells, wards = blocks_of(plan), [ward for ward, count in WARDS.items() for _ in range(count)]
    data = read_as(plan, wards)
    found = counted(plan, data, build_task(plan).model())
    assert isinstance(cells, Cells)
    assert len(found) == cells.length
    by_group = found[: cells.block * len(cells.tables[0].parts)].reshape(-1, CLASSES, cells.bins).sum(dim=2)
    assert by_group.sum(dim=1).tolist() == [*WARDS.values(), *[0.0] * (len(by_group) - 3)]
    assert by_group.sum(dim=0).tolist() == torch.bincount(data.labels).tolist()
    assert float(found.sum()) == len(names) * len(wards)
    assert cells.norm == pytest.approx(len(names) ** 0.5)


PATIENTS = torch.tensor([0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 4, 4])


def of_patients() -> tuple[Plan, Dataset, nn.Module]:
    plan = plan_with(
        'bins = 7\ngroups = ["ward"]',
        **{"privacy.unit": "patient", "task.patient": "mrn", "task.cross": CROSS},
    )
    assert isinstance(plan.task, Classification)
    data = replace(data_of(plan, PEOPLE), patients=PATIENTS)
    wards = [place for place, one in enumerate(layout(plan.task)) if one.feature == "ward" and not one.times]
    data.features[:, wards] = torch.eye(3)[torch.arange(PEOPLE) % 3]
    return plan, data, build_task(plan).model()


def test_a_patient_counts_with_the_mean_of_their_records() -> None:
    plan, data, model = of_patients()
    total = counted(plan, data, model)
    assert float(total.sum()) == pytest.approx(5)
    for patient in range(5):
        mine = data.at(PATIENTS.eq(patient))
        each = [
            counted(plan, replace(mine.at(torch.tensor([row])), patients=torch.zeros(1).long()), model)
            for row in range(len(mine))
        ]
        alone = counted(plan, mine.renumbered(), model)
        assert torch.allclose(alone, torch.stack(each).mean(dim=0), atol=1e-12)


@pytest.mark.parametrize("patient", range(5))
def test_a_patient_more_or_less_moves_all_cells_by_the_norm_at_most(patient: int) -> None:
    plan, data, model = of_patients()
    cells = blocks_of(plan)
    assert isinstance(cells, Cells)
    total, others = counted(plan, data, model), data.at(PATIENTS.ne(patient))
    without = counted(plan, others, model)
    assert 0 < float((total - without).norm()) <= cells.norm + 1e-9
    torch.testing.assert_close(without, counted(plan, others.renumbered(), model))  # numbers may have gaps
    # Their records in another's name: what was one patient is none, and another patient has more records.
    for taken in range(5):
        moved = replace(data, patients=torch.where(PATIENTS.eq(patient), taken, PATIENTS))
        assert float((total - counted(plan, moved, model)).norm()) <= 2 * cells.norm + 1e-9


@pytest.mark.parametrize("row", range(PEOPLE))
def test_a_record_in_the_place_of_another_moves_all_cells_by_no_more_than_its_patient(row: int) -> None:
    plan, data, model = of_patients()
    cells = blocks_of(plan)
    assert isinstance(cells, Cells)
    features, labels = data.features.clone(), data.labels.clone()
    features[row], labels[row] = -features[row].flip(0), 1 - labels[row]
    changed = counted(plan, replace(data, features=features, labels=labels), model)
    apart = float((changed - counted(plan, data, model)).norm())
    share = 1 / int((PATIENTS[row] == PATIENTS).sum())
    assert apart <= 2**0.5 * cells.norm * share + 1e-9


def test_a_sum_over_records_would_be_longer_than_the_norm() -> None:
    """What the tests above would find: the same cells, where each record of a patient counts whole."""
    plan, data, model = of_patients()
    by_record = plan_with('bins = 7\ngroups = ["ward"]', **{"task.cross": CROSS})
    cells = blocks_of(plan)
    assert isinstance(cells, Cells)
    mine = replace(data.at(PATIENTS.eq(3)), patients=None)
    assert float(counted(by_record, mine, model).norm()) > cells.norm


def test_the_threshold_is_an_edge() -> None:
    cells = blocks_of(plan_with("bins = 7\nthreshold = 0.3"))
    assert isinstance(cells, Cells)
    assert 0.3 in cells.edges
    assert cells.bins == 8


@pytest.mark.parametrize(
    "more", ['groups = ["nobody"]', "bins = 1", "bins = 101"], ids=["column", "few", "many"]
)
def test_cells_that_are_not_public_are_refused(more: str) -> None:
    with pytest.raises(PlanError):
        plan_with(more)
