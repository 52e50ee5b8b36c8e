"""The hospitals: every bundled record once, both diagnoses everywhere, the same ones for the same seed."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer

from simulations.populations.hospitals import DIAGNOSES, HOSPITALS, hospitals
from simulations.populations.registry import scenario_for

Row = dict[str, str]


def read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hospitals(tmp_path_factory.mktemp("sites"))


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*.csv"))}


def test_every_record_of_the_data_set_lies_in_exactly_one_file(sites: Path) -> None:
    bunch = load_breast_cancer()
    expected = Counter(
        (*map(float, values), ("malignant", "benign")[label])
        for values, label in zip(bunch.data, bunch.target, strict=True)
    )
    found = Counter(
        (*(float(value) for key, value in row.items() if key != "diagnosis"), row["diagnosis"])
        for path in sites.rglob("*.csv")
        for row in read(path)
    )
    assert found == expected


@pytest.mark.parametrize("hospital", sorted(HOSPITALS))
def test_every_hospital_trains_and_tests_on_both_diagnoses(sites: Path, hospital: str) -> None:
    files = {
        name: Counter(row["diagnosis"] for row in read(sites / hospital / f"{name}.csv"))
        for name in ("train", "test")
    }
    assert all(set(counts) == set(DIAGNOSES) for counts in files.values())
    assert tuple((files["train"] + files["test"])[one] for one in DIAGNOSES) == HOSPITALS[hospital]
    assert 0.15 < files["test"].total() / sum(HOSPITALS[hospital]) < 0.25


def test_hospitals_differ_in_size_and_in_diagnoses() -> None:
    sizes = [sum(counts) for counts in HOSPITALS.values()]
    shares = [malignant / (benign + malignant) for benign, malignant in HOSPITALS.values()]
    assert max(sizes) >= 3 * min(sizes)
    assert max(shares) >= 2.5 * min(shares)


def test_a_seed_decides_who_lies_where(sites: Path, tmp_path: Path) -> None:
    assert contents(hospitals(tmp_path / "again", 0)) == contents(sites)
    assert contents(hospitals(tmp_path / "other", 1)) != contents(sites)


def test_the_plan_of_the_hospitals_reads_the_columns_that_they_have(sites: Path) -> None:
    plan = tomllib.loads(scenario_for("hospitals").read_text(encoding="utf-8"))
    columns = list(read(sites / "summit" / "test.csv")[0])
    assert [*plan["task"]["features"], plan["task"]["target"]] == columns
    assert plan["task"]["classes"] == list(DIAGNOSES)


def test_the_plans_ranges_are_what_the_plan_says_they_are() -> None:
    # From about the published minimum to about half way up to the published maximum: a slip of a digit is neither.
    plan = tomllib.loads(scenario_for("hospitals").read_text(encoding="utf-8"))
    data = load_breast_cancer().data
    for (name, bounds), low, high in zip(
        plan["task"]["features"].items(), data.min(axis=0), data.max(axis=0), strict=True
    ):
        assert bounds["low"] == pytest.approx(low, abs=0.05 * (high - low)), name
        assert bounds["high"] == pytest.approx((low + high) / 2, abs=0.05 * (high - low)), name


def test_the_plans_delta_is_below_one_over_the_records(sites: Path) -> None:
    plan = tomllib.loads(scenario_for("hospitals").read_text(encoding="utf-8"))
    assert plan["privacy"]["delta"] < 1 / sum(len(read(path)) for path in sites.glob("*/train.csv"))
