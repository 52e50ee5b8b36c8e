"""Scores are what torch makes of rows; contributions and intercept are the log-odds; no more is written."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.data.load import read_csv
from clients.data.sources import numerals, packed
from clients.data.sources.delimited import csv_table
from clients.predicting.scores import Asked, model_of, predict
from clients.rules.origin import Origin
from federation.errors import DataError, InputError, UnusableFile
from federation.report.said.finished import open_run
from tests.federation.report.said.runs import ROWS, folder

PLAIN = Asked()


def scored(tmp_path: Path, asked: Asked = PLAIN, **how: object) -> tuple[list[dict[str, str]], torch.Tensor]:
    run = open_run(folder(tmp_path / "run", **how))  # type: ignore[arg-type]
    (tmp_path / "rows.csv").write_text(ROWS)
    out = tmp_path / "scores.csv"
    assert predict(run, Origin.of(tmp_path / "rows.csv"), out, asked, lambda *_: None) == 5
    labelled = [f"{line},{'y' if at else 'n'}" for at, line in enumerate(ROWS.splitlines()[1:])]
    (tmp_path / "labelled.csv").write_text("\n".join(["age,dose,ward,y", *labelled]))
    assert run.table is not None
    with torch.no_grad():
        outputs = model_of(run)(read_csv(tmp_path / "labelled.csv", run.table).features).double()
    return list(csv.DictReader(io.StringIO(out.read_text("utf-8")))), outputs


@pytest.mark.parametrize("model", ["logistic", "additive", "mlp"])
@pytest.mark.parametrize("classes", [2, 3])
def test_scores_are_torch_s_own(tmp_path: Path, model: str, classes: int) -> None:
    rows, outputs = scored(tmp_path, model=model, classes=classes)
    shares = [[float(row[f"probability {name}"]) for name in "nyz"[:classes]] for row in rows]
    assert np.allclose(shares, torch.softmax(outputs, 1).numpy(), atol=1e-6)
    assert [row["predicted"] for row in rows] == ["nyz"[at] for at in outputs.argmax(1)]
    assert [row["row"] for row in rows] == ["2", "3", "4", "5", "6"]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("model", ["logistic", "additive"])
def test_contributions_and_intercept_are_the_log_odds(tmp_path: Path, model: str, classes: int) -> None:
    rows, outputs = scored(tmp_path, Asked("all"), model=model, classes=classes)
    for row, output in zip(rows, outputs, strict=True):
        added = sum(float(value) for name, value in row.items() if name.startswith("adds "))
        log_odds = output[1] - output[0] if classes == 2 else output.max() - output.mean()
        assert added + float(row["intercept"]) == pytest.approx(float(log_odds), abs=1e-5)


def test_the_threshold_of_the_plan_decides(tmp_path: Path) -> None:
    rows, outputs = scored(tmp_path, threshold="threshold = 0.9", model="logistic")
    above = torch.softmax(outputs, 1)[:, 1] >= 0.9
    assert [row["predicted"] for row in rows] == ["ny"[int(at)] for at in above]


def test_no_cell_is_written_unless_asked_for_and_no_file_is_replaced(tmp_path: Path) -> None:
    rows, _ = scored(tmp_path, Asked(None, "ward"), model="logistic")
    assert [row["id"] for row in rows] == ["a", "b", "zz", "a", "b"]
    assert (tmp_path / "scores.csv").stat().st_mode & 0o777 == 0o600
    with pytest.raises(UnusableFile, match="exists already"):
        predict(
            open_run(tmp_path / "run"),
            Origin.of(tmp_path / "rows.csv"),
            tmp_path / "scores.csv",
            Asked(),
            print,
        )


def test_all_bad_cells_are_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (packed, csv_table, numerals):
        monkeypatch.setattr(module, "BLOCK", 2)
    lines = ["age,dose,ward", *["30,10,a"] * 5, "SECRET,1,a", *["30,10,a"] * 5, "SECRET,1,a"]
    (tmp_path / "bad.csv").write_text("\n".join(lines))
    run, out = open_run(folder(tmp_path / "run")), tmp_path / "scores.csv"
    with pytest.raises(DataError, match=r'row 7, column "age".*2 rows: 7, 13') as told:
        predict(run, Origin.of(tmp_path / "bad.csv"), out, Asked(), lambda *_: None)
    assert "SECRET" not in str(told.value) and not list(tmp_path.glob("scores*"))


def test_a_model_that_does_not_add_up_is_not_split_up(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sum over its features"):
        scored(tmp_path, Asked("all"), model="mlp")
