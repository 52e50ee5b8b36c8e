"""What the command refuses and how it ends; what it writes: tests/clients/exporting."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from clients.data.folders import find_sites
from federation.plan.made_up.mock import mock_table
from federation.plan.plan import load
from simulations.tried import count_run
from tests.federation.command import Command
from tests.federation.plan.tallies.test_tasks import STATISTICS
from tests.federation.report.said.runs import folder
from tests.worlds import plan_of, write_sites

TO = ("--to", "safetensors")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_the_result_is_told_as_json_and_in_a_sentence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = folder(tmp_path / "first", model="logistic")
    told = command("export", run, *TO, "--json").json
    assert told["out"] == "first.safetensors" and (tmp_path / "first.safetensors").is_file()
    assert told["plan_digest"] == load(run / "plan.toml").digest
    shown = command("export", run, *TO, "--out", tmp_path / "two.safetensors")
    assert shown.code == 0 and "NOT PRIVATE" in shown.out
    again = command("export", run, *TO)
    assert (again.code, again.out) == (2, "") and "exists already" in again.err


def test_params_that_the_run_did_not_end_with_are_exit_5(command: Command, tmp_path: Path) -> None:
    run, out = folder(tmp_path / "run", model="logistic"), tmp_path / "out.safetensors"
    held = {name: value + 1e-3 for name, value in load_file(run / "params.safetensors").items()}
    save_file(held, run / "params.safetensors", {"plan": load(run / "plan.toml").digest})
    refused = command("export", run, *TO, "--out", out)
    assert (refused.code, refused.out, out.exists()) == (5, "", False)
    assert "not what the last round ended with" in refused.err


def test_another_plan_beside_the_report_is_exit_5(command: Command, tmp_path: Path) -> None:
    run = folder(tmp_path / "run", model="logistic")
    (run / "report.json").write_text(json.dumps({"plan_digest": "sha256:" + "0" * 64, "simulated": False}))
    assert command("export", run, *TO, "--out", tmp_path / "out").code == 5


def test_a_run_that_is_not_over_is_exit_4(command: Command, tmp_path: Path) -> None:
    run = folder(tmp_path / "run", model="logistic")
    (run / "params.safetensors").unlink()
    assert command("export", run, *TO, "--out", tmp_path / "out").code == 4


def test_a_run_that_trained_nothing_and_a_folder_that_is_no_run_are_exit_2(
    command: Command, tmp_path: Path
) -> None:
    assert command("export", tmp_path, *TO, "--out", tmp_path / "out").code == 2
    (tmp_path / "plan.toml").write_text(STATISTICS)
    for name in ("params.safetensors", "report.json"):
        (tmp_path / name).touch()
    refused = command("export", tmp_path, *TO, "--out", tmp_path / "out")
    assert refused.code == 2 and "nothing was trained" in refused.err


def test_data_are_public_by_a_statement_only_and_never_those_of_a_site(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run, out = folder(tmp_path / "run", model="logistic"), tmp_path / "out"
    call = ("export", run, *TO, "--out", out, "--distill", "mlp", "--data")
    sites = write_sites(tmp_path / "sites")
    site = sorted(sites.glob("*.csv"))[0]
    unsaid = command(*call, site)
    assert (unsaid.code, unsaid.out) == (2, "") and "nobody said that these data are public" in unsaid.err
    count_run("a run", plan_of(), find_sites(sites).sites)
    refused = command(*call, site, "--public")
    assert (refused.code, refused.out, out.exists()) == (3, "", False)
    assert "leave these rows out" in refused.err


def test_what_records_of_a_real_run_say_is_on_the_terminal_alone(command: Command, tmp_path: Path) -> None:
    run, out = folder(tmp_path / "run", model="mlp"), tmp_path / "out"
    records = tmp_path / "records.csv"
    records.write_text(mock_table(load(run / "plan.toml"), "mine", 100).csv)
    call = ("export", run, *TO, "--out", out, "--measure", records)
    assert command(*call).code == 2  # nothing was changed
    refused = command(*call, "--prune", "0.5", "--json")
    assert (refused.code, refused.out, out.exists()) == (2, "", False)
    shown = command(*call, "--prune", "0.5")
    assert shown.code == 0 and "accuracy lost" in shown.out and "100 records" in shown.out
    assert b"lost" not in out.read_bytes()


def test_without_the_extra_the_command_that_installs_it_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = folder(tmp_path / "run", model="logistic"), tmp_path / "out.onnx"
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    refused = command("export", run, "--to", "onnx", "--out", out)
    assert (refused.code, out.exists()) == (2, False)
    assert "pip install 'private-federation[export]'" in refused.err
    assert torch.is_grad_enabled()
