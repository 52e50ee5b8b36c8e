"""A smaller model is what it is said to be, costs no data, and what it loses is told where that may be told."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from clients.exporting.export import export
from clients.exporting.rows import made_rows
from clients.exporting.smaller.changes import STATEMENT, Changes
from clients.predicting.scores import model_of
from federation.errors import DataError, InputError
from federation.plan.made_up.mock import mock_table
from federation.report.said.finished import open_run
from tests.clients.exporting.runs import run_of
from tests.federation.report.said.runs import ROWS, folder


def told_in(out: Path) -> dict[str, Any]:
    with safe_open(out, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["federation"])
    return found


@pytest.mark.parametrize("share", [0.25, 0.9])
def test_the_smallest_weights_are_gone_and_no_other(tmp_path: Path, share: float) -> None:
    run, out = run_of(tmp_path / "run", "classes", "mlp"), tmp_path / "out"
    export(run, "safetensors", out, Changes(prune=share))
    before, after = dict(model_of(run).named_parameters()), load_file(out)
    weights = torch.cat([value.abs().reshape(-1) for value in before.values() if value.dim() > 1])
    edge = weights.sort().values[round(share * len(weights)) - 1]
    for name, value in before.items():
        kept = (value.abs() > edge) if value.dim() > 1 else torch.ones_like(value, dtype=torch.bool)
        assert torch.equal(after[name], torch.where(kept, value.detach(), 0.0))
    (said,) = told_in(out)["done"]
    assert (said["what"], said["zeros"], said["of"]) == ("pruned", round(share * len(weights)), len(weights))
    assert 0 < told_in(out)["beside_the_run"]["agreement"] < 1


@pytest.mark.parametrize(
    ("kind", "model", "student"), [("classes", "mlp", "logistic"), ("own", "gru", "mlp")]
)
def test_a_student_of_made_up_rows_says_mostly_what_the_model_says(
    tmp_path: Path, kind: str, model: str, student: str
) -> None:
    run = run_of(tmp_path / "run", kind, model)
    said = export(run, "torch", tmp_path / "out.pt2", Changes(distill=student)).stated.content
    assert said["done"][0]["data"]["digest"].startswith("sha256:")
    program = torch.export.load(io.BytesIO((tmp_path / "out.pt2").read_bytes())).module()
    rows = made_rows(run, 700)[-300:]
    with torch.no_grad():
        wanted, found = model_of(run)(rows), program(rows)
    same = (wanted.argmax(1) == found.argmax(1)).double().mean()
    assert same > 0.85 and abs(float(same) - said["beside_the_run"]["agreement"]) < 0.1


def test_a_student_of_a_number_learns_the_number(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "range", "linear")
    said = export(run, "safetensors", tmp_path / "out", Changes(distill="linear")).stated.content
    assert said["beside_the_run"]["apart"] < 0.05  # of a range from 0 to 9
    assert said["params_digest"] and said["model"] == "linear"


def test_of_public_rows_the_file_has_digest_and_statement_and_no_target_is_needed(tmp_path: Path) -> None:
    run, public = run_of(tmp_path / "run", "classes", "mlp"), tmp_path / "public.csv"
    table = mock_table(run.plan, "elsewhere", 300)
    names = [name for name in table.header if name != "y"]
    with public.open("w", newline="") as file:
        csv.writer(file).writerows([names, *zip(*(table.column(name) for name in names), strict=True)])
    export(run, "safetensors", tmp_path / "out", Changes(distill="logistic", data=public, is_public=True))
    data = told_in(tmp_path / "out")["done"][0]["data"]
    digest = f"sha256:{hashlib.sha256(public.read_bytes()).hexdigest()}"
    assert data == {"rows": 300, "digest": digest, "of": "file", "statement": STATEMENT}
    public.write_text(public.read_text().replace(",", ";"))
    with pytest.raises(DataError, match=r'set separator = ";" in reading.toml'):
        export(run, "safetensors", tmp_path / "o1", Changes("logistic", public, True))
    (tmp_path / "reading.toml").write_text('separator = ";"\n')
    export(run, "safetensors", tmp_path / "o1", Changes("logistic", public, True))
    (tmp_path / "reading.toml").unlink()
    public.write_text(public.read_text().replace(";", ","))
    (tmp_path / "few.csv").write_text(ROWS)
    with pytest.raises(DataError, match="too few"):
        export(run, "safetensors", tmp_path / "o2", Changes("logistic", tmp_path / "few.csv", True))
    public.write_text(public.read_text() + "SECRET,1,a\n")
    with pytest.raises(DataError, match='column "age"') as told:
        export(run, "safetensors", tmp_path / "o2", Changes("logistic", public, True))
    assert "SECRET" not in str(told.value) and not (tmp_path / "o2").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(distill="mlp", data=Path("x.csv")), "nobody said that these data are public"),
        (Changes(data=Path("x.csv"), is_public=True), "what a student learns from"),
        (
            Changes(distill="mlp", is_public=True),
            "add --data FILE, or leave it out: what a student learns from is",
        ),
        (Changes(is_public=True), "about the rows of --data FILE, and none is named; add --data FILE"),
        (Changes(prune=1.0), "a share between 0 and 1"),
        (Changes(prune=float("nan")), "a share between 0 and 1"),
        (Changes(quantize="int8"), "is of ONNX"),
        (Changes(distill="nonsense"), "no such model"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: Changes, words: str) -> None:
    run = run_of(tmp_path / "run", "classes", "logistic")
    with pytest.raises(InputError, match=words):
        export(run, "safetensors", tmp_path / "out", changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("simulated", [False, True])
def test_what_is_lost_on_records_is_in_the_file_of_a_simulation_only(tmp_path: Path, simulated: bool) -> None:
    path = folder(tmp_path / "run", model="mlp")
    report = json.loads((path / "report.json").read_text())
    (path / "report.json").write_text(json.dumps({**report, "simulated": simulated}))
    run, records = open_run(path), tmp_path / "records.csv"
    records.write_text(mock_table(run.plan, "mine", 200).csv)
    found = export(run, "safetensors", tmp_path / "out", Changes(prune=0.5), records)
    assert found.lost is not None and found.lost.accuracy is not None
    own, after = model_of(run), nn_of(tmp_path / "out", run.task.model())
    data = run_data(run, records)
    for model, share in zip((own, after), found.lost.accuracy, strict=True):
        assert share == pytest.approx(float((model(data[0]).argmax(1) == data[1]).double().mean()))
    assert ("lost" in told_in(tmp_path / "out")["beside_the_run"]) == simulated


def nn_of(out: Path, model: nn.Module) -> nn.Module:
    model.load_state_dict(load_file(out))
    return model


def run_data(run: Any, path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    from clients.data.load import read_csv

    data = read_csv(path, run.table)
    return data.features, data.labels


def test_of_a_folder_of_simulated_sites_the_held_out_records_are_measured(tmp_path: Path) -> None:
    path = folder(tmp_path / "run", model="logistic")
    report = json.loads((path / "report.json").read_text())
    (path / "report.json").write_text(json.dumps({**report, "simulated": True}))
    run = open_run(path)
    (tmp_path / "sites").mkdir()
    for name in ("ash", "elm"):
        (tmp_path / "sites" / f"{name}.csv").write_text(mock_table(run.plan, name, 100).csv)
    found = export(run, "safetensors", tmp_path / "out", Changes(prune=0.5), tmp_path / "sites")
    assert found.lost is not None and found.lost.records == 40  # a fifth of each class


@pytest.mark.extras
def test_weights_of_8_bits_are_in_the_file_and_answers_stay_near(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra: make test-extras")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra: make test-extras")
    run, out = run_of(tmp_path / "run", "own", "transformer"), tmp_path / "out.onnx"
    export(run, "onnx", out, Changes(quantize="int8"))
    graph = onnx.load(out)
    held = [one for one in graph.graph.initializer if one.data_type == onnx.TensorProto.INT8]
    assert sum(int(torch.Size(one.dims).numel()) for one in held if len(one.dims) > 1) > 100
    session = onnxruntime.InferenceSession(str(out))
    told = json.loads(session.get_modelmeta().custom_metadata_map["federation"])
    assert told["done"][0]["what"] == "quantized" and told["beside_the_run"]["agreement"] > 0.9
    rows = made_rows(run, 64)
    with torch.no_grad():
        wanted = torch.softmax(model_of(run)(rows), 1)
    (outputs,) = session.run(None, {"input": rows.numpy()})
    found = torch.softmax(torch.from_numpy(outputs), 1)
    assert 0 < float((found - wanted).abs().max()) < 0.1


@pytest.mark.extras
def test_a_model_without_such_layers_is_told_so(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the extra: make test-extras")
    run = run_of(tmp_path / "run", "own", "only_convolutions")
    with pytest.raises(InputError, match="no layer of this model"):
        export(run, "onnx", tmp_path / "out", Changes(quantize="int8"))
