"""Made-up records: whatever the plan, its own reader takes them, and they follow from public numbers alone."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from clients.data.load import read_file
from federation.errors import TaskError
from federation.model.task import build_task
from federation.plan.columns.features import Categorical, Date, Numeric
from federation.plan.made_up.mock import MockTable, mock_table
from federation.plan.plan import Plan, load, parse
from federation.plan.tasks import Classification
from simulations.populations.registry import scenario_for
from tests import plans
from tests.random_plans import random_plans


def table_of(plan: Plan) -> Classification:
    assert isinstance(plan.task, Classification)
    return plan.task


@settings(max_examples=60)
@given(plan=random_plans(), rows=st.integers(1, 60), seed=st.integers(0, 3))
def test_whatever_the_plan_its_reader_takes_made_up_records(plan: Plan, rows: int, seed: int) -> None:
    table = mock_table(plan, "mock-1", rows, seed)
    assert len(table) == rows
    task = table_of(plan)
    assert [*table.header] == [
        *([task.patient] if task.patient else []),
        *(f.name for f in task.features),
        task.target,
    ]
    if any(row == table.header for row in zip(*table.columns, strict=True)):
        return  # no file may have a row that is the header once more
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mock-1.csv"
        path.write_text(table.csv, "utf-8")
        data = read_file(path, plan, build_task(plan)).data
    assert len(data) == rows
    assert (data.patients is not None) == (task.patient is not None)


@settings(max_examples=60)
@given(plan=random_plans(), seed=st.integers(0, 3))
def test_every_cell_is_of_the_range_or_list_that_the_plan_makes_public(plan: Plan, seed: int) -> None:
    table, task = mock_table(plan, "a", 80, seed), table_of(plan)
    for feature in task.features:
        cells = table.column(feature.name)
        known = set(cells) - {""}
        assert feature.missing is not None or "" not in cells
        if isinstance(feature, Numeric):
            assert all(feature.low <= float(cell) <= feature.high for cell in known)
        elif isinstance(feature, Categorical):
            assert feature.other or known <= set(feature.values)
        elif isinstance(feature, Date):
            days = [day for cell in known if (day := feature.form.read(cell)) is not None]
            assert len(days) == len(known)
            assert all(feature.first <= day <= feature.last for day in days)
    assert set(table.column(task.target)) <= set(task.classes)


@settings(max_examples=30)
@given(plan=random_plans(), seed=st.integers(0, 3))
def test_the_same_plan_site_and_seed_give_the_same_records_and_others_give_others(
    plan: Plan, seed: int
) -> None:
    table = mock_table(plan, "a", 200, seed)
    assert mock_table(plan, "a", 200, seed) == table
    assert mock_table(plan, "b", 200, seed) != table
    assert mock_table(plan, "a", 200, seed + 1) != table


def test_records_stay_what_they_are_while_budget_and_model_of_a_plan_change() -> None:
    table = mock_table(plans.plan_of(), "a", 50)
    assert mock_table(plans.plan_of(epsilon=1.0, rounds=7, model="mlp", name="other"), "a", 50) == table
    assert mock_table(plans.plan_of(classes=["1", "0"]), "a", 50) != table


@pytest.mark.parametrize("plan", [plans.plan_of(), load(scenario_for("hospitals"))], ids=["two", "thirty"])
def test_there_is_something_to_learn_and_it_is_the_same_at_another_site(plan: Plan) -> None:
    """Between a coin and an oracle, so that neither noise nor a mistake goes unseen."""
    features, labels = zip(*(_numbers(mock_table(plan, site, 2000)) for site in ("a", "b")), strict=True)
    right = LogisticRegression(max_iter=1000).fit(features[0], labels[0]).score(features[1], labels[1])
    assert 0.6 < right < 0.95


def _numbers(table: MockTable) -> tuple[np.ndarray, tuple[str, ...]]:
    records = np.array(table.columns[:-1], dtype=float).T
    return (records - records.mean(axis=0)) / records.std(axis=0), table.columns[-1]


def test_all_classes_are_there_equally_often() -> None:
    plan = plans.plan_of(classes=["0", "1", "2"])
    counts = [mock_table(plan, "a", 90).column("num").count(name) for name in ("0", "1", "2")]
    assert counts == [30, 30, 30]


@pytest.mark.parametrize(
    ("changes", "most"),
    [({}, 1), ({"privacy.records_per_patient": 2}, 2), ({"unit": "patient"}, 3), ({"noise": "none"}, 3)],
    ids=["records", "two of each", "patients", "no privacy"],
)
def test_a_patient_has_no_more_rows_than_the_plan_allows(changes: plans.Changes, most: int) -> None:
    table = mock_table(plans.plan_of({"task.patient": "mrn"}, changes), "a", 300)
    names = table.column("mrn")
    assert max(map(names.count, set(names))) == most
    others = mock_table(plans.plan_of({"task.patient": "mrn"}, changes), "b", 300).column("mrn")
    assert not set(names) & set(others)


@pytest.mark.parametrize(
    ("low", "high", "shape"),
    [
        (20, 90, r"\d\d"),
        (0, 1, r"0|1|0\.\d{1,4}|.*e-05"),
        (0.002, 0.016, r"0\.0\d{1,6}"),
        (-1e308, 1e308, r".*"),
    ],
)
def test_numbers_are_as_fine_as_their_range(low: float, high: float, shape: str) -> None:
    plan = plans.plan_of({"task.features": {"x": {"low": low, "high": high}}})
    cells = mock_table(plan, "a", 300).column("x")
    assert all(re.fullmatch(shape, cell) for cell in cells), cells
    assert len(set(cells)) > 30
    assert min(map(float, cells)) < low + (high / 2 - low / 2) / 4
    assert max(map(float, cells)) > high - (high / 2 - low / 2) / 4


def test_csv_is_read_back_as_it_was_written() -> None:
    plan = plans.plan_of({"task.features": {"c": {"values": ['a "b", c', "d;e", "=1", "ü"]}}})
    table = mock_table(plan, "a", 50)
    assert list(zip(*csv.reader(io.StringIO(table.csv)), strict=True)) == [
        (name, *cells) for name, cells in zip(table.header, table.columns, strict=True)
    ]


def test_nothing_is_made_up_for_code_of_the_plans_own() -> None:
    table = plans.TEXT[plans.TEXT.index("[task]") : plans.TEXT.index("[cohort]")]
    plan = parse('task = "my_package.readmission:task"\n' + plans.TEXT.replace(table, ""))
    with pytest.raises(TaskError, match="names code and no columns"):
        mock_table(plan, "a", 10)
