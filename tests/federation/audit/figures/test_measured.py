"""Published figures of numbers, counts and times: an honest run passes, and a forged figure is found (DP-55)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.audit.figures.measured import wrong_with_measures
from federation.kinds.cells import blocks_of
from federation.kinds.moments import Numbers, Times
from federation.plan.plan import load
from federation.report.files import read_report
from federation.report.telling.evaluated import published
from tests.federation.audit.audited import edited_report, finished, ids, line_of, receipts, served
from tests.plans import Changes
from tests.worlds import text_of

Change = Callable[[dict[str, Any]], object]
_SHARED = {
    "noise": "distributed",
    "rounds": 1,
    "evaluation.holdout": 0.5,
    "epsilon": 1.0,
    "evaluation.epsilon": 5.0,
}
_WARD = {"ward": {"values": ["a", "b", "c"]}}


def task(kind: str, model: str, **keys: object) -> Changes:
    features = {**_WARD, "dose": {"low": -1, "high": 1}}
    return {**_SHARED, "task": {"kind": kind, "model": model, "features": features, **keys}}


KINDS: Mapping[str, Changes] = {
    "regression": {
        **task("tabular-regression", "linear", target="age", target_range={"low": 20, "high": 90}),
        "evaluation.metrics": ["mae"],
        "evaluation.bins": 3,
        "evaluation.groups": ["ward"],
    },
    "survival": {
        **task("survival", "logistic", target="age", event="sick", events=["no", "yes"], bins=[40, 60, 80]),
        "evaluation.metrics": ["c_index", "mean_brier"],
        "evaluation.bins": 3,
    },
    "counts": {
        **task("tabular-counts", "linear", target="age", most=90),
        "evaluation.metrics": ["deviance"],
        "evaluation.groups": ["ward"],
    },
}


@pytest.fixture(scope="module", params=["regression", "survival"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by the messages of `serve` and `join`, with sites of their own."""
    name: str = request.param
    return served(tmp_path_factory.mktemp(name), text_of(KINDS[name]))


@pytest.fixture
def run(real: Path, tmp_path: Path) -> Path:
    return copytree(real, tmp_path / "run")


def told_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = line_of(run)["evaluation"]
    return found


def test_a_real_run_publishes_figures_that_follow_from_its_sum(real: Path) -> None:
    found = audit(real)
    assert not {one.id for one in found.findings if "evaluation" in one.id or one.severity == "critical"}
    assert found.sums.verified == 2
    told, report = told_of(real), read_report(real)
    assert report.evaluation.published is not None
    assert json.loads((real / "report.json").read_text("utf-8"))["evaluation"]["published"] == told
    assert told["measured"]["records"] == pytest.approx(72, abs=60)
    assert "about" in published(report.evaluation.published)
    name = next(name for name, one in told["measured"]["metrics"].items() if one is not None)
    assert f'<th scope="row">{name.replace("_", " ")}' in (real / "report.html").read_text("utf-8").replace(
        "MAE", "mae"
    )


def other_metric(told: dict[str, Any]) -> None:
    name, one = next(iter(told["measured"]["metrics"].items()))
    told["measured"]["metrics"][name] = {**(one or {"low": 0.0, "high": 1.0}), "value": 0.123}


def other_sum(told: dict[str, Any]) -> None:
    told["measured"]["sums"][0] += 3.0


@pytest.mark.parametrize("change", [other_metric, other_sum], ids=["metric", "sum"])
def test_a_forged_figure_is_found(run: Path, change: Change) -> None:
    with receipts(run) as lines:
        for line in lines:
            if "evaluation" in line:
                change(line["evaluation"])
    assert "evaluation-figures" in ids(
        edited_report(run, lambda report: change(report["evaluation"]["published"]))
    )


IMPOSSIBLE: Mapping[str, Change] = {
    "edges": lambda told: told["measured"].update(edges=[0.0, 1.0, 2.0, 3.0, 4.0]),
    "noise": lambda told: told["measured"].update(deviation=told["measured"]["deviation"] / 2),
    "another group": lambda told: told["measured"]["groups"].update(age={}),
    "nothing": lambda told: told.update(measured=None),
    "a text": lambda told: told["measured"].update(sums="many"),
    "one more sum": lambda told: told["measured"]["sums"].append(80.0),
    "no number": lambda told: told["measured"]["sums"].__setitem__(0, float("inf")),
    "metric": other_metric,
    "sum": other_sum,
    "other records": lambda told: told.update(records=12345.0),
    "accuracy": lambda told: told.update(accuracy=0.9),
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_figures_that_cannot_be_are_found_without_their_sum(real: Path, change: Change) -> None:
    blocks, told = blocks_of(load(real / "plan.toml")), told_of(real)
    deviation = told["measured"]["deviation"]
    beside = ("records", "accuracy", "loss", "standard_error")
    assert isinstance(blocks, Numbers | Times)

    def wrong() -> str | None:
        return wrong_with_measures(told["measured"], {name: told[name] for name in beside}, blocks, deviation)

    assert wrong() is None
    change(told)
    assert wrong()


def test_a_group_s_sums_are_those_of_everybody_without_any_transcript(tmp_path: Path) -> None:
    run = finished(tmp_path, "vectorized", text_of(KINDS["counts"], noise="central"))
    assert (audit(run).verdict, ids(audit(run))) == ("pass", set())

    def change(told: dict[str, Any]) -> None:
        told["measured"]["groups"]["ward"]["= b"]["sums"][1] += 1.0

    with receipts(run) as lines:
        for line in lines:
            if "evaluation" in line:
                change(line["evaluation"])
    found = edited_report(run, lambda report: change(report["evaluation"]["published"]))
    assert "evaluation-figures" in ids(found)
