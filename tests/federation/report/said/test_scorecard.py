"""The points of a row, looked up in the table by hand, are the score of the model up to rounding."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest
import torch

from clients.data.sources.reading import examined
from clients.predicting.chunks import chunks
from clients.predicting.scores import model_of, outputs_of
from federation.errors import InputError
from federation.report.said.finished import open_run
from federation.report.said.model import said
from federation.report.said.scorecard import Scaling, lines, table
from tests.federation.report.said.runs import ROWS, folder


def points(rows: list[dict[str, str]], cells: dict[str, str]) -> float:
    total = 0.0
    for name, cell in cells.items():
        own = [row for row in rows if row["attribute"] == name]
        label = cell if any(row["from"] == cell and not row["scale"] for row in own) else None
        if cell == "":
            label = "is missing"
        elif label is None and not own[0]["scale"]:
            label = "is another"
        if label is not None:
            total += next(float(r["points_from"]) for r in own if r["from"] == label and not r["scale"])
            continue
        bins = [row for row in own if row["scale"]]
        number = min(max(float(cell), float(bins[0]["from"])), float(bins[-1]["to"]))
        piece = next(row for row in bins if float(row["from"]) <= number <= float(row["to"]))
        low, high = float(piece["from"]), float(piece["to"])
        bend = math.log if piece["scale"] == "log" else float
        share = (bend(number) - bend(low)) / (bend(high) - bend(low))
        total += (1 - share) * float(piece["points_from"]) + share * float(piece["points_to"])
    return total


@pytest.mark.parametrize("decimals", [0, 2])
def test_points_of_a_row_add_up_to_the_score_of_the_model(tmp_path: Path, decimals: int) -> None:
    run = open_run(folder(tmp_path / "run", cross=False))
    told, task, scaling = said(run), run.table, Scaling(500, 20, 40)
    assert told is not None and task is not None
    rows = list(csv.DictReader(io.StringIO(table(lines(told, task.features, scaling, decimals), decimals))))
    (tmp_path / "rows.csv").write_text(ROWS)
    (chunk,) = chunks(examined(tmp_path / "rows.csv"), task)
    outputs = outputs_of(model_of(run), torch.from_numpy(chunk.inputs), "told").double()
    for cells, output in zip(csv.DictReader(io.StringIO(ROWS)), outputs, strict=True):
        found = float(rows[0]["points_from"]) + points(rows, cells)
        rounding = 0.5 * 10**-decimals * 4 + 0.05  # of four entries; ends of log bins are written in 4 digits
        assert found == pytest.approx(scaling.score(float(output[1] - output[0])), abs=rounding)


def test_base_score_stands_where_the_odds_are_and_points_double_them() -> None:
    scaling = Scaling(600, 50, 20)
    assert scaling.score(-math.log(50)) == pytest.approx(600)
    assert scaling.score(-math.log(100)) == pytest.approx(620)


@pytest.mark.parametrize("how", [{"classes": 3}, {"cross": True}], ids=["classes", "cross"])
def test_what_has_no_single_score_has_no_table(tmp_path: Path, how: dict[str, int]) -> None:
    run = open_run(folder(tmp_path / "run", **{"cross": False, **how}))  # type: ignore[arg-type]
    told = said(run)
    assert told is not None and run.table is not None
    with pytest.raises(InputError):
        lines(told, run.table.features, Scaling(), 0)
