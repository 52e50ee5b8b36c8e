"""`federation tradeoff`: what it prints and writes, what it refuses, and what it says when it is interrupted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from federation.cli.simulating import tradeoff
from federation.cli.simulating.folders import free_folder, named
from simulations.tradeoff import trials
from tests.federation.command import Command
from tests.worlds import text_of, write_sites

PRIVATE = text_of(noise="site", local_steps=2, epsilon=4.0)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PRIVATE)
    return path


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    return write_sites(tmp_path / "sites")


def test_it_prints_the_frontier_for_people_and_for_programs(
    command: Command, plan: Path, sites: Path, tmp_path: Path
) -> None:
    words = ("tradeoff", plan, "--sites", sites, "--epsilon", "4", "--seeds", 1, "--no-contributions")
    words = (*words, "--noise", "distributed,site", "--out", tmp_path / "out")
    told = command(*words)
    assert (told.code, told.err.count("\n")) == (0, 6), "a line for each that is done"
    assert told.out.startswith("A choice made by exact figures is covered by no epsilon")
    shown = re.findall(r"right (\d+) times in 100", told.out)
    assert len(shown) >= 1 and all(50 < int(times) < 99 for times in shown), "epsilon 4 alone would say 99"
    assert "refused  epsilon 4, distributed: " in told.out
    assert "each site alone, without privacy" in told.out
    for line in told.out.splitlines()[-2:]:
        assert Path(line.split(maxsplit=1)[1]).exists()
    again = command(*words, "--json")
    assert again.json == json.loads((tmp_path / "out" / "frontier.json").read_text())
    assert "nothing was run" in again.err
    assert {"schema", "points", "baselines", "sites", "tried", "seeds", "metrics", "contributions"} <= set(
        again.json
    )
    assert {"epsilon", "noise", "seeds", "metrics", "risk", "refused", "spent"} <= set(
        again.json["points"][0]
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--epsilon", "1,two"), 2, "--epsilon = 1,two: is no list of epsilons"),
        (("--noise", "loud"), 2, '--noise: "loud" is no place of noise'),
        (("--noise", "distributed"), 3, "every point is refused"),
        (("--seeds", "0"), 2, "--seeds"),
        (("--sites", "nowhere"), 2, "nowhere"),
    ],
    ids=["epsilon", "noise", "refused", "seeds", "sites"],
)
def test_what_cannot_be_asked(
    words: tuple[str, ...], code: int, said: str, command: Command, plan: Path, sites: Path, tmp_path: Path
) -> None:
    told = command("tradeoff", plan, "--sites", sites, "--out", tmp_path / "out", *words)
    assert (told.code, said in told.err, told.out) == (code, True, ""), told.err
    assert len(told.err.strip().splitlines()[-1]) > 0
    assert not (tmp_path / "out").exists()


def test_interrupted_it_tells_the_command_that_goes_on(
    command: Command, plan: Path, sites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "simulate", interrupted)
    monkeypatch.chdir(tmp_path)
    words = ("tradeoff", plan, "--sites", sites, "--epsilon", "4", "--seeds", 1, "--no-contributions")
    told = command(*words)
    assert told.code == 130
    last = told.err.strip().splitlines()[-1]
    assert (
        last
        == f"error: interrupted; resume with: federation {' '.join(map(str, words))} --out runs/trees-tradeoff-1"
    )


def test_folders_are_named_for_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert free_folder("a") == Path("runs/a-1")
    (tmp_path / "runs" / "a-1").mkdir(parents=True)
    assert free_folder("a") == Path("runs/a-2")
    assert (named("Heart disease, 2024"), named("???")) == ("heart-disease-2024", "run")
    assert tradeoff._band({"mean": 0.5, "low": 0.4, "high": 0.6}) == "0.500 ± 0.100"
