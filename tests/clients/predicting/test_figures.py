"""A number has its own unit, a time its chances by horizon, a count its mean; none of them is a bare output."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.data.sources.reading import examined
from clients.predicting.chunks import chunks
from clients.predicting.scores import Asked, model_of, outputs_of, predict
from clients.rules.origin import Origin
from federation.errors import InputError
from federation.report.said.finished import open_run
from federation.report.said.model import said, slopes
from tests.federation.report.said.runs import ROWS, folder

KINDS = {
    "range": (
        'kind = "tabular-regression"\ntarget = "days"\ntarget_range = { low = 10, high = 50 }',
        "linear",
    ),
    "survival": ('kind = "survival"\ntarget = "days"\nevent = "died"\nbins = [30, 90]', "logistic"),
    "counts": ('kind = "tabular-counts"\ntarget = "visits"\nmost = 9', "linear"),
    "rates": ('kind = "tabular-counts"\ntarget = "visits"\nmost = 9\nexposure = "months"', "linear"),
}


def scored(tmp_path: Path, name: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    kind, model = KINDS[name]
    run = open_run(folder(tmp_path / "run", model=model, kind=kind))
    (tmp_path / "rows.csv").write_text(ROWS)
    predict(run, Origin.of(tmp_path / "rows.csv"), tmp_path / "s.csv", Asked(), lambda *_: None)
    head, *rows = list(csv.reader(io.StringIO((tmp_path / "s.csv").read_text("utf-8"))))
    assert run.table is not None
    (chunk,) = chunks(examined(tmp_path / "rows.csv"), run.table)
    outputs = outputs_of(model_of(run), torch.from_numpy(chunk.inputs), "told")
    return head[1:], np.array([row[1:] for row in rows], float), outputs.double().numpy()


def test_a_number_is_in_its_own_unit(tmp_path: Path) -> None:
    head, rows, outputs = scored(tmp_path, "range")
    assert head == ["predicted days"] and np.allclose(rows, 30 + 20 * outputs, rtol=1e-6)


def test_survival_falls_from_bin_to_bin_by_the_hazards(tmp_path: Path) -> None:
    head, rows, outputs = scored(tmp_path, "survival")
    hazards = 1 / (1 + np.exp(-outputs))
    assert head == ["survival at 30", "survival at 90"]
    assert np.allclose(rows[:, 0], 1 - hazards[:, 0], rtol=1e-6)
    assert np.allclose(rows[:, 1], (1 - hazards[:, 0]) * (1 - hazards[:, 1]), rtol=1e-6)


@pytest.mark.parametrize(("name", "title"), [("counts", ""), ("rates", " for 1 of months")], ids=str)
def test_a_count_is_its_mean(tmp_path: Path, name: str, title: str) -> None:
    head, rows, outputs = scored(tmp_path, name)
    assert head == [f"expected visits{title}"] and np.allclose(rows, np.exp(outputs), rtol=1e-6)


def test_slopes_of_a_number_are_in_its_unit_and_no_network_is_split_up(tmp_path: Path) -> None:
    kind, model = KINDS["range"]
    run = open_run(folder(tmp_path / "run", model=model, kind=kind))
    found = slopes(run)
    assert found is not None
    assert np.allclose([slope for _, slope in found], 20 * run.params[: len(found)].double().numpy())
    (tmp_path / "rows.csv").write_text(ROWS)
    network = open_run(folder(tmp_path / "network", model="mlp", kind=kind))
    with pytest.raises(InputError, match="no sum over its features"):
        predict(network, Origin.of(tmp_path / "rows.csv"), tmp_path / "s.csv", Asked("all"), lambda *_: None)


@pytest.mark.parametrize("model", ["linear", "additive"])
@pytest.mark.parametrize("name", KINDS)
def test_what_features_add_and_the_intercept_are_what_is_predicted(
    tmp_path: Path, name: str, model: str
) -> None:
    """A number in its own unit, the logarithm of a count, the log-odds of the hazard of each bin."""
    kind, plain = KINDS[name]
    run = open_run(folder(tmp_path / "run", model=plain if model == "linear" else model, kind=kind))
    (tmp_path / "rows.csv").write_text(ROWS)
    predict(run, Origin.of(tmp_path / "rows.csv"), tmp_path / "s.csv", Asked("all"), lambda *_: None)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text("utf-8"))))
    assert run.table is not None
    (chunk,) = chunks(examined(tmp_path / "rows.csv"), run.table)
    outputs = outputs_of(model_of(run), torch.from_numpy(chunk.inputs), "told").double().numpy()
    expected = 30 + 20 * outputs if name == "range" else outputs
    bases = [word for word in rows[0] if word.startswith("intercept")]
    ends = ["intercept of event, bin up to 30", "intercept of event, bin up to 90"]
    assert bases == ([end.replace("event", "died") for end in ends] if name == "survival" else ["intercept"])
    for row, wanted in zip(rows, expected, strict=True):
        added = sum(float(value) for word, value in row.items() if word.startswith("adds "))
        assert np.allclose([added + float(row[base]) for base in bases], wanted, atol=1e-4)
    told = said(run)
    assert told is not None and len(told.outcomes) == 1 and len(told.intercepts) == len(bases)
    curve = next(one for one in told.curves if one.feature == "ward")
    marks = {"a": 0, "b": 1}
    for row, ward in zip(rows, ("a", "b", "zz", "a", "b"), strict=True):
        if not (run.table.cross or ()):
            assert float(row["adds ward"]) == pytest.approx(curve.effect[marks.get(ward, 2)], abs=1e-5)
