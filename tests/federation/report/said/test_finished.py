"""A model is handed out only where the files of its run agree, and only of a run that is over."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from federation.errors import AuditFailure, CheckpointError, UnusableFile
from federation.report.said.finished import open_run
from federation.report.said.section import section_of
from tests.federation.report.said.runs import folder


def test_a_param_that_was_changed_is_refused(tmp_path: Path) -> None:
    run = folder(tmp_path / "run")
    digest = open_run(run).plan.digest
    tensors = load_file(run / "params.safetensors")
    tensors["bias"] = tensors["bias"] + torch.tensor([1e-3, 0])
    save_file(tensors, run / "params.safetensors", {"plan": digest, "private": "false"})
    with pytest.raises(AuditFailure, match="not what the last round ended with"):
        open_run(run)


@pytest.mark.parametrize("name", ["params.safetensors", "report.json"])
def test_a_run_that_is_not_over_has_no_model(tmp_path: Path, name: str) -> None:
    run = folder(tmp_path / "run")
    (run / name).unlink()
    with pytest.raises(CheckpointError):
        open_run(run)


def test_a_folder_that_is_no_run_is_a_mistake_of_the_call(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="no run folder"):
        open_run(tmp_path)


def test_a_report_of_another_plan_is_refused(tmp_path: Path) -> None:
    run = folder(tmp_path / "run")
    (run / "report.json").write_text(json.dumps({"plan_digest": "sha256:00"}))
    with pytest.raises(AuditFailure):
        open_run(run)


@pytest.mark.parametrize(
    "name", ["plan.toml", "roster.toml", "report.json", "receipts.jsonl", "params.safetensors"]
)
def test_nobody_waits_for_a_pipe_in_the_place_of_a_file(tmp_path: Path, name: str) -> None:
    """Whoever made the folder would decide how long an audit of it takes."""
    run = folder(tmp_path / "run")
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    assert section_of(run) is None
    with pytest.raises(AuditFailure, match="no file in the place of one"):
        open_run(run)
