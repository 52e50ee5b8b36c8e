"""A file says of rows what the model says, to 1e-5, and of itself what the plan says; each by its own reader."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from clients.exporting.export import export
from clients.exporting.forms import CLOSE, Form
from clients.exporting.rows import made_rows
from clients.predicting.scores import model_of
from federation.errors import NoMock, TaskError, UnusableFile
from federation.report.said.finished import Finished
from tests import ROOT
from tests.clients.exporting.runs import ALL, BUILT_IN, run_of

EACH = pytest.mark.parametrize(("kind", "model"), ALL, ids=lambda word: word)


def _library(name: str) -> Any:
    return pytest.importorskip(name, reason="needs the extra: make test-extras")


def written(tmp_path: Path, run: Finished, form: Form) -> Path:
    out = tmp_path / f"out.{form}"
    export(run, form, out)
    return out


def require_same(run: Finished, answer: Any) -> None:
    """On rows that the file was not tried on, few and many."""
    model = model_of(run)
    for count in (1, 2, 50):
        rows = made_rows(run, 60)[-count:]
        with torch.no_grad():
            wanted = model(rows)
        found = answer(rows)
        assert found.shape == wanted.shape
        assert torch.allclose(found, wanted, rtol=CLOSE, atol=CLOSE)


@pytest.mark.extras
@EACH
def test_onnxruntime_says_what_the_model_says(tmp_path: Path, kind: str, model: str) -> None:
    onnx, onnxruntime = _library("onnx"), _library("onnxruntime")
    run = run_of(tmp_path / "run", kind, model)
    out = written(tmp_path, run, "onnx")
    onnx.checker.check_model(str(out), full_check=True)
    session = onnxruntime.InferenceSession(str(out))
    require_same(run, lambda rows: torch.from_numpy(session.run(None, {"input": rows.numpy()})[0]))
    told = session.get_modelmeta().custom_metadata_map
    require_told(run, told["federation"], told["guarantee"])
    assert session.get_inputs()[0].shape == ["rows", *made_rows(run, 2).shape[1:]]
    require_nothing_of_this_machine(out.read_bytes())


@pytest.mark.parametrize(("kind", "model"), [*BUILT_IN[1::3], *ALL[-4:]], ids=lambda word: word)
def test_plain_torch_says_what_the_model_says(tmp_path: Path, kind: str, model: str) -> None:
    run = run_of(tmp_path / "run", kind, model)
    out = written(tmp_path, run, "torch")
    beside = {"model.json": "", "guarantee": ""}
    program = torch.export.load(io.BytesIO(out.read_bytes()), extra_files=beside)
    with torch.no_grad():
        require_same(run, program.module())
    require_told(run, *(_text(beside[name]) for name in ("model.json", "guarantee")))
    archive = zipfile.ZipFile(out)
    parts = {name: archive.read(name) for name in archive.namelist()}
    assert parts["archive/data/sample_inputs/model.pt"] == b""
    assert all(b"_rebuild" not in part and b'"use_pickle": true' not in part for part in parts.values())
    for part in parts.values():
        require_nothing_of_this_machine(part)


@EACH
def test_safetensors_hold_every_tensor_by_its_name(tmp_path: Path, kind: str, model: str) -> None:
    run = run_of(tmp_path / "run", kind, model)
    out = written(tmp_path, run, "safetensors")
    fresh, held = run.task.model(), load_file(out)
    with torch.no_grad():
        for name, tensor in (*fresh.named_parameters(), *fresh.named_buffers()):
            tensor.copy_(held.pop(name))
    assert not held
    require_same(run, lambda rows: fresh.eval()(rows).detach())
    with safe_open(out, "pt") as file:
        told = file.metadata()
    require_told(run, told["federation"], told["guarantee"])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def require_told(run: Finished, text: str, sentence: str) -> None:
    told = json.loads(text)
    closing = json.loads((run.path / "receipts.jsonl").read_text().splitlines()[-1])["params"]
    assert (told["plan_digest"], told["params_digest"]) == (run.plan.digest, closing)
    assert told["guarantee"]["private"] is False and sentence.startswith("NOT PRIVATE")
    if run.table is not None:
        features = told["input"]["features"]
        assert [one["name"] for one in features] == [one.name for one in run.table.features]
        assert (features[0]["low"], features[0]["high"], features[0]["missing"]) == (20, 90, "refuse")
        assert features[2].get("values", ["a", "b"]) == ["a", "b"]
        assert run.table.inputs == told["input"]["shape"][1] >= features[-1]["columns"][1]
        assert ("steps" in told["input"]) == (run.table.steps > 1)
    assert bool(told["not_covered"]) == (run.plan.base is not None)
    assert told["output"]["shape"][1:] and told["output"]["means"] and told["done"] == []


def require_nothing_of_this_machine(data: bytes) -> None:
    for name in (str(ROOT), str(Path.home()) + "/", "site-packages", ".py"):
        assert name.encode() not in data, name


def test_a_model_that_chooses_by_values_is_no_graph(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "own", "choosing")
    with pytest.raises(TaskError, match="cannot be captured"):
        written(tmp_path, run, "torch")
    assert not (tmp_path / "out.torch").exists()
    written(tmp_path, run, "safetensors")


def test_a_task_without_mock_records_is_told_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(NoMock, match="makes no mock records"):
        written(tmp_path, run_of(tmp_path / "run", "own", "silent"), "torch")


def test_no_file_is_replaced_and_one_without_privacy_is_its_owner_s(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", *BUILT_IN[0])
    out = written(tmp_path, run, "safetensors")
    assert out.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UnusableFile, match="exists already"):
        written(tmp_path, run, "safetensors")
