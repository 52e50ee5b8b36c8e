"""The file of a personal model: after the run, of this site's records, for its owner only, and read by no round."""

from __future__ import annotations

import ast
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from clients.personal import personal_model, read_personal, write_personal
from federation.errors import AuditFailure, CheckpointError, InputError, UnusableFile
from federation.ledger.export import load_entries
from federation.plan.plan import parse
from federation.report.said.finished import Finished, open_model
from privacy.errors import LedgerRefusal, RecordsUnavailable
from privacy.ledger.state import fold
from server.serve import serve
from tests import ROOT
from tests.clients.people.houses import NOISED, THREE, Heard, build, gone, staffed
from tests.federation.command import Command
from tests.worlds import text_of

TABLE = "\n[personal]\nsteps = 40\nlearning_rate = 0.5\npull = 0.05\n"
TEXT = text_of({**NOISED, "metrics": ["accuracy", "auc"]}, rounds=2) + TABLE
SITE = THREE[0]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hospitals, and a real run of theirs that is over."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "plan.toml").write_text(TEXT, "utf-8")
    given = folder / "plan.toml", build(folder / "sites", parse(TEXT)), folder / "run"
    with staffed(folder / "sites") as sites, pytest.raises(KeyboardInterrupt):
        serve(*given, Heard(sites, until=3))
    with pytest.raises(CheckpointError, match="not over"):
        open_model(folder / "run")
    with staffed(folder / "sites") as sites:
        serve(*given, Heard(sites))
    return folder


def test_a_site_makes_the_released_model_its_own_and_nothing_is_charged(
    house: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, out = Command(monkeypatch, capsys), tmp_path / "ours.safetensors"
    site, ledger = house / "sites" / f"{SITE}.toml", house / "sites" / f"{SITE}.sqlite"
    before = ledger.read_bytes()
    told = command("personal", house / "run", site, "--out", out)
    assert told.code == 0, told.err
    assert "accuracy: released" in told.out and "gain in accuracy" in told.out
    assert "keep the file as you keep the records" in told.err
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert ledger.read_bytes() == before
    run = open_model(house / "run")
    params = read_personal(run, out)
    assert bool((params != run.params).any())
    with safe_open(out, framework="pt") as file:
        assert file.metadata()["private"] == "false" and file.metadata()["plan"] == run.plan.digest
    again = command("personal", house / "run", site, "--out", out)
    assert again.code == 2 and "exists already" in again.err
    shown = command("personal", house / "run", site, "--out", tmp_path / "other.safetensors", "--json")
    assert set(shown.json) == {"out", "plan_digest", "note"}, "no figure of records is in the JSON"

    rows = house / "sites" / f"{SITE}.csv"
    scored = [
        command("predict", house / "run", rows, "--out", tmp_path / f"{name}.csv", *more)
        for name, more in (("shared", ()), ("own", ("--personal", out)))
    ]
    assert [each.code for each in scored] == [0, 0], scored
    assert "keep the file as you keep the records" in scored[1].err
    assert ["no more than the params do" in " ".join(each.err.split()) for each in scored] == [True, False]
    assert (tmp_path / "shared.csv").read_text() != (tmp_path / "own.csv").read_text()


def test_it_comes_after_the_run_and_only_of_the_model_that_the_ledger_knows(house: Path) -> None:
    run, site = open_model(house / "run"), house / "sites" / f"{SITE}.toml"
    other = Finished(run.path, run.plan, run.task, run.params + 1, False, 0.0, run.id)
    with pytest.raises(AuditFailure, match="closed this run with another model"):
        personal_model(other, site)
    stranger = Finished(run.path, run.plan, run.task, run.params, False, 0.0, "00" * 16)
    assert personal_model(stranger, site).params.shape == run.params.shape  # of a run that it was not in


def test_while_the_run_is_open_at_the_site_there_is_none(tmp_path: Path, house: Path) -> None:
    given = house / "plan.toml", build(tmp_path / "sites", parse(TEXT)), tmp_path / "run"
    with staffed(tmp_path / "sites") as sites, pytest.raises(KeyboardInterrupt):
        serve(*given, Heard(sites, until=3))
    run = open_model(house / "run")
    (name, *_) = fold(load_entries(tmp_path / "sites" / f"{SITE}.sqlite")).runs
    still = Finished(run.path, run.plan, run.task, run.params, False, 0.0, name)
    with pytest.raises(LedgerRefusal, match="open in the site's ledger"):
        personal_model(still, tmp_path / "sites" / f"{SITE}.toml")


def test_records_of_people_who_withdrew_are_left_out(house: Path) -> None:
    run, site = open_model(house / "run"), house / "sites" / f"{SITE}.toml"
    before = personal_model(run, site)
    gone(house / "sites", "P0001", "P0003", "P0004")
    after = personal_model(run, site)
    held = [0 if each.held_out is None else len(each.held_out) for each in (before, after)]
    assert len(after.trained_on) + held[1] < len(before.trained_on) + held[0]
    (house / "sites" / f"{SITE}.sqlite.withdrawn").rename(house / "sites" / "away")
    with pytest.raises(RecordsUnavailable):
        personal_model(run, site)
    (house / "sites" / "away").rename(house / "sites" / f"{SITE}.sqlite.withdrawn")


def test_a_plan_without_the_table_and_another_run_s_file_are_refused(house: Path, tmp_path: Path) -> None:
    run, site = open_model(house / "run"), house / "sites" / f"{SITE}.toml"
    bare = parse(TEXT.replace(TABLE, ""))
    with pytest.raises(InputError, match=r"no \[personal\] table"):
        personal_model(Finished(run.path, bare, run.task, run.params, False, 0.0, run.id), site)
    out = tmp_path / "ours.safetensors"
    write_personal(run, SITE, run.params, out)
    assert torch.equal(read_personal(run, out), run.params)
    moved = Finished(run.path, run.plan, run.task, run.params + 1, False, 0.0, run.id)
    with pytest.raises(UnusableFile, match="no personal model of this run"):
        read_personal(moved, out)
    for name, content in (("empty", b""), ("cut", out.read_bytes()[:-3]), ("text", b"age,dose\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnusableFile, match="cannot be read"):
            read_personal(run, tmp_path / name)


def test_no_code_that_a_round_runs_reads_a_personal_model() -> None:
    """The command that makes one imports it, the one that scores by it, and what compares in simulations."""
    users = set()
    for path in (*ROOT.glob("clients/**/*.py"), *ROOT.glob("federation/**/*.py"), *ROOT.glob("server/**/*.py"),
                 *ROOT.glob("simulations/**/*.py")):  # fmt: skip
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in (
                "clients.personal",
                "clients.training.personal",
            ):
                users.add(path.relative_to(ROOT).as_posix())
    assert users == {
        "clients/personal.py",
        "federation/cli/telling/personal.py",
        "federation/cli/telling/predict.py",
        "simulations/comparing/personal.py",
    }
