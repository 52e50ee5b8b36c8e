"""Killed at any instant, a run goes on: no round is charged twice, none is missing, and the params are the same.

The processes are real and so is the signal (`tests.stories.killer`). When it strikes is random and differs from one
test run to the next: no instant may matter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from federation.audit.examine import audit
from federation.audit.outcome import Sums
from federation.ledger.export import load_entries
from federation.plan.plan import parse
from privacy.accounting.pld import epsilon
from privacy.ledger.chain import Entry
from privacy.ledger.state import fold
from server.run_folder import RunFolder
from simulations.simulate import simulate
from tests import ROOT
from tests.patience import patience
from tests.scale import SCALE, scaled
from tests.worlds import NAMES, load_params, text_of, write_sites

SITES = NAMES[:3]
ROUNDS, KILLS = 40, 6


def kill_until_finished(folder: Path, engine: str) -> None:
    """Simulate in a folder under repeated SIGKILL."""
    words = [sys.executable, "-m", "tests.stories.killer", engine, str(KILLS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=patience(100), check=False
    )
    assert done.returncode == 0, done.stderr
    rounds = [int(count) for count in done.stdout.split()]
    assert any(0 < count < ROUNDS for count in rounds), f"no kill struck between two rounds: {rounds}"


def entries_of(folder: Path, site: str) -> tuple[Entry, ...]:
    return load_entries(folder / "run" / "journals" / f"{site}.sqlite")


def check_journals(folder: Path, rounds: int) -> None:
    """Every round begun once and released once, under one reservation."""
    expected = dict.fromkeys(range(1, rounds + 1), 1)
    for site in SITES:
        entries = entries_of(folder, site)
        assert [entry.kind for entry in entries].count("reserve") == 1
        for kind in ("begin", "release"):
            counted = Counter(entry.body["round"] for entry in entries if entry.kind == kind)
            assert counted == expected, (site, kind)


AGAIN = pytest.mark.parametrize("again", range(scaled(1)))


@pytest.mark.soak
@AGAIN
@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
def test_a_run_that_is_killed_again_and_again_ends_like_one_that_was_not(
    tmp_path: Path, engine: str, again: int
) -> None:
    text = text_of(rounds=ROUNDS, sample_rate=0.5)
    write_sites(tmp_path / "sites")
    (tmp_path / "plan.toml").write_text(text)
    kill_until_finished(tmp_path, engine)
    check_journals(tmp_path, ROUNDS)
    assert [entry.round for entry in RunFolder(tmp_path / "run", parse(text)).receipts()] == list(
        range(1, ROUNDS + 1)
    )
    simulate(
        parse(text),
        tmp_path / "sites",
        tmp_path / "calm",
        engine=engine,  # type: ignore[arg-type]
        progress=lambda *_: None,
    )
    assert load_params(tmp_path / "run").equal(load_params(tmp_path / "calm"))
    calm = json.loads((tmp_path / "calm" / "report.json").read_text())
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["evaluation"] == calm["evaluation"]
    assert report["history"] == calm["history"]


EVERY = max(1, round(16 / SCALE))  # of how many steps one is fatal


@pytest.mark.soak
def test_a_run_that_is_killed_before_any_step_of_its_folder_ends_like_one_that_was_not(
    tmp_path: Path,
) -> None:
    """DP-35: every file that is written, renamed or deleted: in `make soak` each of them, here some."""
    text = text_of(rounds=2, sample_rate=0.5)
    sites = write_sites(tmp_path / "sites")
    (tmp_path / "plan.toml").write_text(text)
    words = [sys.executable, "-m", "tests.stories.stepper", str((EVERY + 1) // 2), str(EVERY)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience(100),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10 / EVERY, "a run writes more than that"
    simulate(parse(text), sites, tmp_path / "calm", engine="vectorized", progress=lambda *_: None)
    for run in tmp_path.glob("run-*"):
        assert [entry.round for entry in RunFolder(run, parse(text)).receipts()][-1] == 2
        assert load_params(run).equal(load_params(tmp_path / "calm"))
        assert not [each.id for each in audit(run).findings if each.severity == "critical"]
        assert not list(run.rglob("*.new*"))
        for site in SITES:
            kinds = [entry.kind for entry in load_entries(run / "journals" / f"{site}.sqlite")]
            assert [kinds.count(kind) for kind in ("reserve", "begin", "release")] == [1, 2, 2]


@pytest.mark.soak
@AGAIN
def test_a_private_run_that_is_killed_spends_what_its_plan_says_and_no_more(
    tmp_path: Path, again: int
) -> None:
    text = text_of(noise="distributed", rounds=ROUNDS)
    write_sites(tmp_path / "sites")
    (tmp_path / "plan.toml").write_text(text)
    kill_until_finished(tmp_path, "protocol")
    check_journals(tmp_path, ROUNDS)
    found = audit(tmp_path / "run")
    assert (found.verdict, found.sums) == ("pass", Sums(opened=ROUNDS, verified=ROUNDS, followed=ROUNDS))
    assert "receipt-replayed" not in {finding.id for finding in found.findings}
    names = sorted(path.name for path in (tmp_path / "run" / "rounds").iterdir())
    assert names == [f"{number:04d}.transcript" for number in range(1, ROUNDS + 1)]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert 2.98 < report["privacy"]["epsilon"] <= 3.0
    for site in report["sites"]:
        assert site["epsilon"] == report["privacy"]["epsilon"]
        assert site["rounds"] == ROUNDS
        spent = fold(entries_of(tmp_path, site["id"])).charged("record")
        assert epsilon(spent, 1e-5) == report["privacy"]["epsilon"]
