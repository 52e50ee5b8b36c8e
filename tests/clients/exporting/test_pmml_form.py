"""PMML: by the standard's rules a raw row has the score that `predict` gives it, and a refused cell has none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from clients.exporting.export import export
from clients.exporting.smaller.changes import Changes
from clients.predicting.scores import Asked, predict
from clients.rules.origin import Origin
from federation.errors import InputError
from federation.plan.made_up.mock import mock_table
from federation.report.said.finished import Finished, open_run
from tests.clients.exporting.pmml_rules import SPACE, Evaluator, Invalid
from tests.clients.exporting.runs import KINDS, run_of
from tests.federation.report.said.runs import folder

MORE = """
ward = { values = ["a", "b"], other = true }
bed = { values = ["1", "2"], missing = "category" }
icu = { values = ["no", "yes"], missing = "no" }
lost = { low = -50, high = 2000, scale = "symlog", missing = 7.5, knots = [5, 100] }
"""
ODD = [
    ["15", "500", "zz", "", "", "9999"],
    ["300", "", "a", "2", "yes", ""],
    ["90", "0.01", "b", "1", "no", "-700"],
]


def rich(path: Path, kind: str, model: str, classes: int = 2) -> Finished:
    """A run of a plan with every rule that PMML has words for."""
    return open_run(folder(path, model=model, classes=classes, kind=KINDS[kind], features=MORE))


def scored(tmp_path: Path, run: Finished) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows, and what `predict` says of them."""
    assert run.table is not None
    table = mock_table(run.plan, "elsewhere", 30)
    names = [one.name for one in run.table.features]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        columns = [table.column(name) for name in names]
        csv.writer(file).writerows([names, *zip(*columns, strict=True), *ODD])
    predict(run, Origin.of(tmp_path / "rows.csv"), tmp_path / "scores.csv", Asked(), lambda *_: None)
    texts = [(tmp_path / name).read_text().splitlines() for name in ("rows.csv", "scores.csv")]
    return list(csv.DictReader(texts[0])), list(csv.DictReader(texts[1]))


@pytest.mark.parametrize(
    ("kind", "model", "classes"),
    [
        ("classes", "logistic", 2),
        ("classes", "additive", 3),
        ("range", "linear", 2),
        ("counts", "additive", 2),
    ],
)
def test_a_raw_row_has_the_score_that_predict_gives_it(
    tmp_path: Path, kind: str, model: str, classes: int
) -> None:
    run = rich(tmp_path / "run", kind, model, classes)
    export(run, "pmml", tmp_path / "out.pmml")
    evaluator, (rows, scores) = Evaluator(tmp_path / "out.pmml"), scored(tmp_path, run)
    for row, said in zip(rows, scores, strict=True):
        for name, value in evaluator.scores(row).items():
            (column,) = [
                key for key in said if key == f"probability {name}" or (name is None and key != "row")
            ]
            assert value == pytest.approx(float(said[column]), rel=1e-5, abs=1e-6)


def test_cells_that_the_plan_refuses_have_no_score(tmp_path: Path) -> None:
    run = rich(tmp_path / "run", "classes", "logistic")
    export(run, "pmml", tmp_path / "out.pmml")
    evaluator, (rows, _) = Evaluator(tmp_path / "out.pmml"), scored(tmp_path, run)
    for name, cell in (("age", ""), ("ward", ""), ("icu", "maybe"), ("bed", "3")):
        with pytest.raises(Invalid, match=name):
            evaluator.scores({**rows[0], name: cell})


def test_the_header_says_what_the_model_is(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "classes", "mlp")
    export(run, "pmml", tmp_path / "out.pmml", Changes(distill="logistic", prune=0.1))
    header = Evaluator(tmp_path / "out.pmml").root.find(f"{SPACE}Header")
    assert header is not None and header.get("description", "").startswith("NOT PRIVATE")
    told = json.loads(header[0].get("value", ""))
    assert told["plan_digest"] == run.plan.digest
    assert [one["what"] for one in told["done"]] == ["distilled", "pruned"]


@pytest.mark.parametrize(
    ("kind", "model", "why"),
    [
        ("classes", "mlp", "for a logistic, linear or additive model"),
        ("survival", "logistic", "written of classes, numbers, and counts"),
        ("own", "conv", "for a logistic, linear or additive model of a table"),
    ],
)
def test_what_pmml_has_no_words_for_is_refused(tmp_path: Path, kind: str, model: str, why: str) -> None:
    with pytest.raises(InputError, match=f"PMML is {why}"):
        export(run_of(tmp_path / "run", kind, model), "pmml", tmp_path / "out.pmml")
    assert not (tmp_path / "out.pmml").exists()
