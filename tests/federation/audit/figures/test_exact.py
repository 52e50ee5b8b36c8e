"""The exact figures of a simulation: what can be recounted of them is, and the rest is nobody's to verify."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.audit.figures.exact import check_majority, check_sums
from federation.audit.findings import Findings
from tests.federation.audit.audited import SITES, edited_report, finished, ids
from tests.worlds import text_of

METRICS = ["accuracy", "balanced_accuracy", "auc", "f1", "recall"]
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every metric there is."""
    text = text_of(noise="distributed", rounds=2, metrics=METRICS)
    return finished(tmp_path_factory.mktemp("measured"), "vectorized", text)


@pytest.fixture
def run(measured: Path, tmp_path: Path) -> Path:
    return copytree(measured, tmp_path / "run")


def test_honest_figures_are_no_finding(run: Path) -> None:
    found = audit(run)
    assert (found.verdict, ids(found)) == ("pass", set())
    assert any("nobody can verify them" in line for line in found.not_checked)


@pytest.mark.parametrize("name", ["accuracy", "f1", "recall", "balanced_accuracy"])
def test_a_changed_figure_of_one_site_is_found_though_its_mean_was_changed_with_it(
    run: Path, name: str
) -> None:
    def change(report: dict[str, Any]) -> None:
        told = report["evaluation"]
        row = next(row for row in told["sites"].values() if row[name] is not None)
        row[name] = row[name] * 0.9
        values = [each[name] for each in told["sites"].values() if each[name] is not None]
        told["mean_of_sites"][name] = sum(values) / len(values)

    assert "report-mismatch" in ids(edited_report(run, change), "critical")


@pytest.mark.parametrize("name", ["accuracy", "auc", "recall", "balanced_accuracy"])
def test_a_changed_figure_of_the_majority_is_found(run: Path, name: str) -> None:
    def change(report: dict[str, Any]) -> None:
        row = report["evaluation"]["baselines"]["majority"]
        row[name] = 0.9 * row[name] if row[name] else 0.3

    assert "report-mismatch" in ids(edited_report(run, change), "critical")


def test_counts_that_were_moved_from_site_to_site_are_found(run: Path) -> None:
    def change(report: dict[str, Any]) -> None:
        sites = report["evaluation"]["sites"]
        sites[SITES[0]]["n"] += 1
        sites[SITES[1]]["n"] -= 1

    assert "report-mismatch" in ids(edited_report(run, change), "critical")


@pytest.mark.parametrize(
    "row",
    [
        {"n": 10, "positives": 4, "accuracy": 0.75},  # of ten
        {"n": 10, "positives": 11, "accuracy": 0.7},
        {"n": 10, "positives": 4, "auc": 1.5},
        {"n": 10, "positives": 4, "loss": -0.1},
        {"n": -1, "positives": 0},
        {"n": 10, "positives": 4, "accuracy": "0.7"},
        {"n": 10, "positives": 4, "accuracy": 0.7, "recall": 0.5, "f1": 0.9},
    ],
    ids=["a part of a record", "too many", "above one", "below zero", "no count", "text", "another f1"],
)
def test_figures_that_cannot_be_are_found(row: Mapping[str, Any]) -> None:
    found = Findings()
    check_sums({"pooled": {}, "sites": {"ash": row}}, found)
    assert [each.id for each in found.sorted()] == ["report-mismatch"]


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"pooled": [], "sites": 3},
        {"pooled": {"accuracy": None}, "sites": {"ash": {"n": 4, "positives": 1, "accuracy": None}}},
        {"pooled": {"accuracy": None}, "sites": {"ash": {"n": 0, "positives": 0, "accuracy": None}}},
        {"pooled": {"recall": 0.4}, "sites": {"ash": {"n": 9, "positives": None, "recall": 0.4}}},
        {"pooled": {"accuracy": 0.5}, "sites": {"ash": {"accuracy": 0.7}}},
        {"pooled": {"n": 4, "positives": 1}, "baselines": {"majority": {"accuracy": None, "auc": None}}},
        {"pooled": {"n": 4, "positives": 1}, "baselines": {"majority": []}},
    ],
    ids=[
        "nothing", "no tables", "diverged", "no records", "many classes", "an earlier version", "no baseline",
        "a list",
    ],
)  # fmt: skip
def test_what_says_nothing_is_no_finding(told: Mapping[str, Any]) -> None:
    found = Findings()
    check_sums(told, found)
    check_majority(told, found)
    assert not found.sorted()


def test_the_report_that_is_audited_has_all_these_figures(run: Path) -> None:
    told = json.loads((run / "report.json").read_text("utf-8"))["evaluation"]
    assert set(METRICS) <= told["sites"][SITES[0]].keys()
    assert set(METRICS) <= told["baselines"]["majority"].keys()
