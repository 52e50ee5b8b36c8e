"""`federation track` and the same options elsewhere: what lacks is told before anything is begun."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from federation.cli.telling.track import print_tracked
from federation.tracking import library
from tests.federation.command import Command
from tests.worlds import text_of, write_sites


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_it_has_to_be_said_where_to(command: Command, tmp_path: Path) -> None:
    refused = command("track", tmp_path)
    assert refused.code == 2
    assert "name --mlflow DIR, --tensorboard DIR, or both" in refused.err


@pytest.mark.parametrize("option", ["--mlflow", "--tensorboard"])
def test_without_the_extra_a_run_is_not_even_begun(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr(library, "find_spec", lambda _: None)
    plan = tmp_path / "plan.toml"
    plan.write_text(text_of())
    data, out = write_sites(tmp_path / "data"), tmp_path / "run"
    for words in (
        ("simulate", plan, "--sites", data, "--out", out),
        ("serve", plan, "--roster", tmp_path / "roster.toml", "--state", out),
        ("track", out),
    ):
        refused = command(*words, option, tmp_path / "tracking")
        assert refused.code == 2
        assert "pip install 'private-federation[tracking]'" in refused.err
        assert len(refused.err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "plan.toml"]


def test_a_rehearsal_is_tracked_nowhere(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "find_spec", lambda name: name)
    words = ("--roster", tmp_path / "r.toml", "--state", tmp_path / "run", "--mlflow", tmp_path / "tracking")
    refused = command("serve", tmp_path / "plan.toml", *words, "--rehearse")
    assert refused.code == 2
    assert "a rehearsal leaves no run to track" in refused.err


@pytest.mark.extras
def test_a_simulation_is_tracked_when_it_ends_and_again_when_it_was_over(
    command: Command, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboardX", reason="needs the extra: make test-extras")
    plan = tmp_path / "plan.toml"
    plan.write_text(text_of())
    words = ("simulate", plan, "--sites", write_sites(tmp_path / "data"), "--out", tmp_path / "run")
    for _ in range(2):
        done = command(*words, "--no-baseline", "--tensorboard", tmp_path / "events")
        assert done.code == 0
        assert "events   " in done.out
        assert len(list((tmp_path / "events").rglob("events.out.tfevents.*"))) == 1
    folds = command(*words[:-1], tmp_path / "folded", "--folds", 2, "--tensorboard", tmp_path / "two")
    assert folds.code == 0
    assert len(list((tmp_path / "two").iterdir())) == 2


def test_the_command_that_shows_a_store_can_be_typed_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    print_tracked({"mlflow": "1f", "mlflow_store": "sqlite:////srv/two words/mlflow.db"})
    assert shlex.split(capsys.readouterr().out)[-1] == "sqlite:////srv/two words/mlflow.db"
