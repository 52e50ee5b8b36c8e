"""Scores of series: a line for each row with a window behind it, by the model's own output, and importance."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import torch

from clients.data.load import read_table
from clients.predicting import series
from clients.predicting.importance import importance
from clients.predicting.scores import Asked, model_of, predict
from clients.rules.origin import Origin
from federation.errors import DataError, InputError
from federation.plan.series.tasks import Series
from federation.report.said.finished import Finished, open_run
from tests.federation.report.said.runs import folder

KEYS = 'patient = "who"\ntime = "t"\nwindow = 3\nstride = 2\nhorizon = {}'
CLASSES = f'kind = "series-classification"\ntarget = "y"\nclasses = ["n", "y"]\n{KEYS}'
NUMBERS = f'kind = "series-regression"\ntarget = "y"\ntarget_range = {{{{ low = 0, high = 10 }}}}\n{KEYS}'
ROWS = [("b", 1), ("a", 0), ("a", 2), ("a", 1), ("b", 0), ("a", 3), ("c", 0)]
HEAD = "who,t,age,dose,ward"


def run_of(path: Path, model: str = "gru", kind: str = CLASSES, horizon: int = 1) -> Finished:
    return open_run(folder(path, model=model, cross=False, kind=kind.format(horizon)))


def table(path: Path, more: str = "") -> Path:
    lines = [f"{who},{t},{30 + 5 * t},{10 + t},a" for who, t in ROWS]
    path.write_text("\n".join([HEAD + (",y" if more else ""), *(f"{line}{more}" for line in lines)]))
    return path


@pytest.mark.parametrize("model", ["gru", "transformer", "logistic"])
def test_each_row_with_enough_before_it_has_a_line_and_its_window_s_score(tmp_path: Path, model: str) -> None:
    run = run_of(tmp_path / "run", model)
    assert isinstance(run.table, Series)
    asked = Asked(copied="who")
    found = predict(run, Origin.of(table(tmp_path / "rows.csv")), tmp_path / "s.csv", asked, lambda *_: None)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text())))
    assert [(line["row"], line["id"]) for line in lines] == [
        ("4", "a"),
        ("7", "a"),
    ]  # the rows at times 2 and 3
    assert found == 2
    # As training sees them: with a target at every row, and a window at every row.
    dense = run.table.model_copy(update={"stride": 1, "horizon": 0})
    data = read_table(Origin.of(table(tmp_path / "labelled.csv", ",n")), dense).data
    with torch.no_grad():
        chances = torch.softmax(model_of(run)(data.features).double(), 1)
    assert [float(line["probability y"]) for line in lines] == pytest.approx(chances[:, 1].tolist(), abs=1e-6)


def test_a_number_is_told_in_its_own_unit_and_many_windows_come_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(tmp_path / "run", "transformer", NUMBERS)
    place = Origin.of(table(tmp_path / "rows.csv"))
    predict(run, place, tmp_path / "whole.csv", Asked(), lambda *_: None)
    monkeypatch.setattr(series, "_NUMBERS", 1)
    seen = list[tuple[int, int]]()
    predict(run, place, tmp_path / "parts.csv", Asked(), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert (tmp_path / "parts.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert (tmp_path / "parts.csv").read_text().splitlines()[0] == "row,predicted y"


def test_what_cannot_be_scored_is_refused_and_no_file_is_left(tmp_path: Path) -> None:
    run, out = run_of(tmp_path / "run"), tmp_path / "s.csv"
    short = tmp_path / "short.csv"
    short.write_text(f"{HEAD}\na,0,30,1,a\na,1,30,1,a\n")
    with pytest.raises(DataError, match="no series is long enough"):
        predict(run, Origin.of(short), out, Asked(), lambda *_: None)
    short.write_text(f"{HEAD}\na,0,30,1,a\na,0.0,30,1,a\n")
    with pytest.raises(DataError, match="is the time of another row"):
        predict(run, Origin.of(short), out, Asked(), lambda *_: None)
    with pytest.raises(InputError, match="no sum over its features"):
        predict(run, Origin.of(table(tmp_path / "rows.csv")), out, Asked("all"), lambda *_: None)
    assert not out.exists()


def test_a_feature_that_the_model_does_not_use_has_no_importance(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "logistic", horizon=0)
    places = [place for place in range(run.params.numel() - 2) if place % run_width(run) == 0]
    with torch.no_grad():
        run.params[places] = 0.0  # of "age", in every row of a window
    lines = [
        f"p{who},{t},{20 + (7 * who + 3 * t) % 70},{1 + (5 * who + t) % 90},{'ab'[t % 2]},{'ny'[who % 2]}"
        for who in range(9)
        for t in range(6)
    ]
    (tmp_path / "rows.csv").write_text("\n".join([HEAD + ",y", *lines]))
    found = importance(run, [Origin.of(tmp_path / "rows.csv")])
    grown = {name: mean for name, mean, _ in found.features}
    assert found.records == 9 * 2
    assert grown["age"] == pytest.approx(0.0, abs=1e-7)
    assert abs(grown["dose"]) > 1e-5


def run_width(run: Finished) -> int:
    assert run.table is not None
    return run.table.width
