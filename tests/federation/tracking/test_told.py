"""What registries are told is what the report says: by digest, by round, and nothing of real sites beside it."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from federation.errors import AuditFailure, CheckpointError
from federation.plan.plan import load
from federation.tracking.told import told
from tests.federation.tracking.runs import real, simulated


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real(tmp_path_factory.mktemp("real"))


def test_every_figure_is_in_the_report_at_its_round(run: Path) -> None:
    tracked, report = told(run), json.loads((run / "report.json").read_text())
    found = {(one.name, one.round): one.value for one in tracked.scalars}
    for line in report["rounds"]:
        assert found["round/survivors", line["round"]] == line["survivors"]
        assert found["round/seconds", line["round"]] == line["seconds"]
    for line in report["history"]:
        for name, value in line["metrics"].items():
            assert found[f"pooled/{name}", line["round"]] == value
    for site, metrics in report["evaluation"]["sites"].items():
        assert found[f"sites/{site}/accuracy", 3] == metrics["accuracy"]
    assert not any(name.startswith("epsilon") for name, _ in found)  # of a plan without privacy
    assert tracked.tags["mlflow.note.content"].startswith("NOT PRIVATE. Simulated")


def test_the_digests_lead_from_the_run_to_its_params_and_its_plan(run: Path) -> None:
    tracked = told(run)
    closing = json.loads((run / "receipts.jsonl").read_text().splitlines()[-1])
    assert tracked.tags["federation.params_digest"] == closing["params"]
    assert tracked.tags["federation.plan_digest"] == load(run / "plan.toml").digest
    for name, word in {"plan.toml": "plan", "params.safetensors": "params", "report.json": "report"}.items():
        assert tracked.files[name] == (run / name).read_bytes()
        assert tracked.tags[f"federation.{word}_sha256"] == sha256(tracked.files[name]).hexdigest()
    assert tracked.settings["training.optimizer"] == "sgd"
    assert set(tracked.times) == {1, 2, 3}
    assert tracked.begun < tracked.times[1] <= tracked.times[2] <= tracked.times[3] == tracked.ended


def test_of_a_real_run_nothing_is_told_but_what_its_report_publishes(served: Path) -> None:
    tracked = told(served)
    assert {one.name for one in tracked.scalars} == {"round/cohort", "round/survivors", "round/seconds"}
    assert "Simulated" not in tracked.tags["mlflow.note.content"]
    assert set(tracked.files) == {"plan.toml", "params.safetensors", "report.json", "report.html"}


def test_what_the_plan_paid_for_is_told(served: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(served, tmp_path / "run")
    report = json.loads((copy / "report.json").read_text())
    published = {"accuracy": 0.75, "loss": None, "records": 36.5, "standard_error": 0.02}
    report["evaluation"]["published"] = published
    report["privacy"] |= {"epsilon": 2.5, "delta": 1e-5, "private": True, "noise": "site"}
    report["privacy"]["together"] = {"epsilon": 2.9}
    report["history"][0]["epsilon"] = 1.25
    (copy / "report.json").write_text(json.dumps(report))
    found = {(one.name, one.round): one.value for one in told(copy).scalars}
    assert found["published/accuracy", 3] == 0.75
    assert found["published/records", 3] == 36.5
    assert ("published/loss", 3) not in found
    assert (found["epsilon", 1], found["epsilon", 3], found["epsilon_with_evaluation", 3]) == (1.25, 2.5, 2.9)
    assert "epsilon 2.900 at delta 1e-05, for one record" in told(copy).tags["mlflow.note.content"]


def test_a_file_that_was_put_in_the_place_of_the_params_is_registered_nowhere(
    run: Path, served: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    shutil.copy(served / "params.safetensors", other / "params.safetensors")
    with pytest.raises(AuditFailure, match="is not what the last round ended with"):
        told(other)
    (other / "params.safetensors").unlink()
    with pytest.raises(CheckpointError, match="the run is not over"):
        told(other)


@pytest.mark.parametrize("text", ["", "[]", '{"plan_digest": 3}', "{" * 9000])
def test_a_report_that_is_none_is_refused_in_one_line(run: Path, tmp_path: Path, text: str) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "report.json").write_text(text)
    with pytest.raises(AuditFailure, match="report"):
        told(copy)
