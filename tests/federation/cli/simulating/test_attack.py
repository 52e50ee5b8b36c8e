"""`federation attack`: what it prints, writes and ends with."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulations.attacking import attack as attacking
from simulations.attacking.models import Models, trained
from simulations.attacking.proven import proven_of
from tests.federation.command import Command
from tests.plans import plan_of
from tests.simulations.attacking.chance import stream
from tests.simulations.attacking.runs import BY_HEART, PRIVATE, run_of


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_it_says_what_it_found_and_ends_with_5_where_that_is_too_much(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, sites = run_of(tmp_path, BY_HEART)
    cache = dict[str, Models]()
    asked = ("attack", run, "--data", sites, "--models", 16)
    monkeypatch.setattr(
        attacking,
        "trained",
        lambda world, people, count, _, told: cache.setdefault(
            "models", trained(world, people, count, stream(1), told)
        ),
    )
    told = command(*asked, "--out", tmp_path / "a.html")
    assert told.code == 0 and "NOTHING PROVEN" in told.out and "not evidence of epsilon" in told.out
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert command(*asked, "--out", tmp_path / "a.html").code == 2, "no page is replaced"
    monkeypatch.setattr(attacking, "trained", lambda *_: cache["models"])
    claimed = plan_of(PRIVATE, epsilon=0.3)
    monkeypatch.setattr(attacking, "proven_of", lambda _, people: proven_of(claimed, people))
    exceeded = command(*asked, "--json")
    assert exceeded.code == 5 and exceeded.json["exceeds"] is True
    lira = exceeded.json["targets"]["retrained"]["attacks"]["lira"]
    assert lira["auc"]["low"] > exceeded.json["proven"]["auc"]
    assert exceeded.err.splitlines()[-1].startswith("error: an attack found more")


def test_what_is_no_simulated_run_is_exit_2(command: Command, tmp_path: Path) -> None:
    assert command("attack", tmp_path, "--data", tmp_path).code == 2
