"""docs/export.md: its commands write files, and its lines make of a row what the plan's rules make of it."""

from __future__ import annotations

import csv
import io
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from federation.plan.made_up.mock import mock_table
from federation.plan.plan import load
from tests import ROOT
from tests.federation.command import Command
from tests.federation.report.said.runs import ROWS, folder

TEXT = (ROOT / "docs" / "export.md").read_text("utf-8")
CALLS = [
    shlex.split(line)[1:] for line in re.findall(r"^federation export runs/first .*$", TEXT, re.MULTILINE)
]
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
EXTRA = "needs the extra: make test-extras"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.mark.extras
def test_the_lines_encode_a_row_as_predict_does(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason=EXTRA)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text(ROWS)
    said: dict[str, Any] = {}
    exec(CODE[0], said)  # noqa: S102  # our own page
    folder(tmp_path / "first", model="additive")  # with knots, a cross, a logarithm and what is missing
    assert command("export", "first", "--to", "onnx").code == 0
    assert command("predict", "first", "rows.csv", "--out", "scores.csv").code == 0
    scores = list(csv.DictReader(io.StringIO((tmp_path / "scores.csv").read_text())))
    wanted = [[float(row[f"probability {name}"]) for name in "ny"] for row in scores]
    found = said["answer"]("first.onnx", list(csv.DictReader(io.StringIO(ROWS))))
    assert np.allclose(found, wanted, atol=1e-6)


@pytest.mark.extras
def test_every_command_of_the_page_writes_its_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason=EXTRA)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    folder(tmp_path / "runs" / "first", model="logistic")
    assert len(CALLS) >= 8
    table = mock_table(load(tmp_path / "runs" / "first" / "plan.toml"), "elsewhere", 100)
    for name in ("public.csv", "mine.csv"):
        (tmp_path / name).write_text(table.csv)
    for call in CALLS:
        done = command(*call)
        assert done.code == 0, done.err
        assert (tmp_path / call[call.index("--out") + 1]).is_file()
    lines = CODE[1].replace("torch.zeros(1, 3)", "torch.zeros(1, 6)")
    said: dict[str, Any] = {}
    exec(lines, said)  # noqa: S102
    assert said["outputs"].shape == (1, 2) and b"federation.model/1" in _bytes(said["told"]["model.json"])
    assert torch.is_tensor(said["outputs"])


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
