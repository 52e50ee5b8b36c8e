"""Both engines play one story: the same sites and rounds are lost, and without noise the params are the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.errors import CheckpointError, FederationError, InputError, TooFewSurvivors
from federation.report.files import read_report
from federation.report.report import Report
from simulations.simulate import Engine, simulate
from tests.worlds import load_params, text_of, write_sites

TOLD = ("round", "attempts", "cohort", "survivors", "void", "simulated_seconds")
ALL = "dropouts=0.05, after_vote=0.05, stragglers=0.1, delay_seconds=20, restarts=0.05, away_rounds=2"
Play = Callable[..., Report]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """A run of one plan over five sites, with an engine and faults, in a folder of its own."""

    def played(engine: Engine, faults: str | None, out: str = "", **rules: Any) -> Report:
        plan = tmp_path / "plan.toml"
        plan.write_text(text_of(**{"rounds": 8, "dropouts": 2, "colluders": 0, **rules}))
        sites, folder = write_sites(tmp_path / "sites", 5, 24), tmp_path / (out or engine)
        return simulate(plan, sites, folder, engine=engine, faults=faults, baseline=False, public=True)

    return played


def receipts(folder: Path) -> list[dict[str, Any]]:
    """What the receipts tell of who was lost, and when."""
    path = folder / "receipts.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [{name: line.get(name) for name in TOLD} for line in lines if "round" in line]


def outcome(play: Play, folder: Path, engine: Engine, faults: str, **rules: Any) -> tuple[str, Any]:
    """How a run ended, and its receipts."""
    try:
        play(engine, faults, **rules)
    except FederationError as error:
        return f"{type(error).__name__}: {error}", receipts(folder / engine)
    return "", receipts(folder / engine)


STORIES: dict[str, tuple[str, dict[str, Any]]] = {
    "a lost round": (
        "dropouts=0.08, after_vote=0.08, stragglers=0.1, delay_seconds=20, restarts=0.08, away_rounds=1, "
        "late=0.15, late_rounds=1, seed=3",
        {"rounds": 4},
    ),
    "too few": (f"{ALL}, late=0.2, late_rounds=3, seed=3", {}),
    "stragglers": ("stragglers=0.3, delay_seconds=12, training_seconds=3, seed=4", {"rounds": 5}),
    "a cohort that may not change": ("late=0.4, late_rounds=1, seed=2", {"rounds": 3, "dropouts": 1}),
    "drawn cohorts": ("dropouts=0.1, after_vote=0.1, seed=5", {"size": 4, "dropouts": 1, "rounds": 5}),
    "noise": (
        f"{ALL}, seed=7",
        {"noise": "distributed", "epsilon": 50.0, "delta": 1e-5, "clipping_norm": 1.0, "rounds": 5},
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_engines_lose_the_same_and_come_to_the_same(name: str, play: Play, tmp_path: Path) -> None:
    faults, rules = STORIES[name]
    computed, sent = (
        outcome(play, tmp_path, engine, faults, **rules) for engine in ("vectorized", "protocol")
    )
    assert computed == sent
    assert any(line["survivors"] != line["cohort"] for line in sent[1]) or sent[0], "the story has faults"
    if sent[0] or "noise" in rules:
        return
    one, other = load_params(tmp_path / "vectorized"), load_params(tmp_path / "protocol")
    assert float((one - other).abs().max()) < 1e-5


def test_another_seed_loses_others(play: Play, tmp_path: Path) -> None:
    """The failing control of the test above."""
    play("vectorized", "dropouts=0.1, seed=5", "one")
    play("vectorized", "dropouts=0.1, seed=6", "other")
    play("vectorized", "dropouts=0.1, seed=5", "again")
    assert receipts(tmp_path / "one") == receipts(tmp_path / "again") != receipts(tmp_path / "other")
    assert (load_params(tmp_path / "one") - load_params(tmp_path / "other")).abs().max() > 1e-5


def test_a_run_that_is_interrupted_goes_on_in_the_same_story(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = f"{ALL}, late=0.2, late_rounds=3, seed=2"
    play("vectorized", faults, "whole")
    told = receipts(tmp_path / "whole")
    for stops in (2, 7):  # the seventh round is lost
        out = f"stopped{stops}"
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            _stop_after(stops, patched)
            play("vectorized", faults, out)
        assert len(receipts(tmp_path / out)) < len(told)
        with pytest.raises(CheckpointError, match="holds a run with the faults"):
            play("vectorized", "seed=5, dropouts=0.1", out)
        play("vectorized", faults, out)
        assert [_unnumbered(line) for line in receipts(tmp_path / out)] == [
            _unnumbered(line) for line in told
        ]
        same = load_params(tmp_path / out) - load_params(tmp_path / "whole")
        assert float(same.abs().max()) < 1e-5


def _unnumbered(line: dict[str, Any]) -> dict[str, Any]:
    """Without the numbers of attempts, which are never used twice, and so go on after an interruption."""
    voids = [{name: told for name, told in void.items() if name != "attempt"} for void in line["void"] or ()]
    return {**line, "void": voids, "attempts": 0}


def _stop_after(rounds: int, patched: pytest.MonkeyPatch) -> None:
    """Interrupt a run when it has played so many rounds."""
    from simulations.faults import computed

    original = computed.Computed.__iter__

    def stops(self: computed.Computed) -> Any:
        for number, done in enumerate(original(self), 1):
            if number > rounds:
                raise KeyboardInterrupt
            yield done

    patched.setattr(computed.Computed, "__iter__", stops)


def test_report_and_audit_tell_what_was_lost_and_a_false_word_is_found(play: Play, tmp_path: Path) -> None:
    report = play("vectorized", f"{ALL}, seed=2")
    lines, told = receipts(tmp_path / "vectorized"), report.faults
    assert told is not None
    missed = [site for line in lines for site in set(line["cohort"]) - set(line["survivors"])]
    assert {site: missed.count(site) for site in set(missed)} == dict(told.missed)
    assert told.simulated_seconds == pytest.approx(sum(line["simulated_seconds"] for line in lines))
    assert told.rules["seed"] == 2
    page = (tmp_path / "vectorized" / "report.html").read_text()
    assert "Sites that were lost on purpose" in page and f"{max(told.missed)} " in page
    assert read_report(tmp_path / "vectorized") == report
    assert audit(tmp_path / "vectorized").verdict == "pass"
    for name, false in (("missed", {"ash": 99}), ("simulated_seconds", 1.0)):
        path = tmp_path / "vectorized" / "report.json"
        text = path.read_text()
        content = json.loads(text)
        content["faults"][name] = false
        path.write_text(json.dumps(content))
        assert audit(tmp_path / "vectorized").verdict == "fail", name
        path.write_text(text)


def test_sites_that_got_the_params_are_charged_also_where_they_were_lost(play: Play, tmp_path: Path) -> None:
    rules = {"noise": "distributed", "epsilon": 50.0, "delta": 1e-5, "clipping_norm": 1.0}
    report = play("vectorized", "dropouts=0.12, after_vote=0.06, restarts=0.06, seed=2", rounds=5, **rules)
    lines = receipts(tmp_path / "vectorized")
    assert any(line["survivors"] != line["cohort"] for line in lines)
    charged = {line.id: line.rounds for line in report.sites}
    summed = {site: sum(site in line["survivors"] for line in lines) for site in charged}
    asked = {site: sum(site in line["cohort"] for line in lines) for site in charged}
    assert all(summed[site] <= charged[site] <= asked[site] for site in charged)
    assert sum(charged.values()) > sum(summed.values())
    assert audit(tmp_path / "vectorized").verdict == "pass"


def test_faults_over_flower_and_in_a_finished_run_are_refused(play: Play) -> None:
    with pytest.raises(InputError, match="Flower"):
        play("flower", "dropouts=0.1")
    play("vectorized", None, rounds=2)
    with pytest.raises(CheckpointError, match="leave out --faults"):
        play("vectorized", "dropouts=0.1", rounds=2)
    assert play("vectorized", None, rounds=2).faults is None


def test_too_few_survivors_are_the_error_of_a_real_run(play: Play) -> None:
    with pytest.raises(TooFewSurvivors) as caught:
        play("vectorized", "dropouts=1.0, seed=1")
    assert (caught.value.exit_code, caught.value.got) == (4, 0)
    for words in ("5 were", "have more sites", "cohort.deadline_seconds (now", "the simulation ends here"):
        assert words in str(caught.value)
