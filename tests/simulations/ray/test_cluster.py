"""A real Ray on this machine, by the command line: the same as one process, also after a worker was lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from federation.quiet import QUIET
from tests import ROOT
from tests.worlds import load_params, text_of, write_sites

pytestmark = pytest.mark.extras
COMMAND = (sys.executable, "-c", "from federation.cli.start import main; main()", "simulate", "plan.toml")


def simulate(folder: Path, out: str, *options: str) -> subprocess.CompletedProcess[str]:
    """One call in a folder of its own."""
    words = [*COMMAND, "--sites", "sites", "--out", out, "--no-baseline", "--json", *options]
    return subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


def environment() -> dict[str, str]:
    """Of a user who has set nothing."""
    clean = {name: value for name, value in os.environ.items() if name not in QUIET}
    return {**clean, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pytest.importorskip("ray")
    write_sites(tmp_path / "sites", sites=5)
    (tmp_path / "plan.toml").write_text(text_of(rounds=1500, local_steps=2, sample_rate=0.5))
    return tmp_path


def workers(parent: int) -> Iterator[int]:
    """The processes of Flower's actors that a command has started, near or far below it."""
    known = {parent}
    for place in sorted(Path("/proc").glob("[0-9]*"), key=lambda each: int(each.name)):
        try:
            above = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if above in known:
                known.add(int(place.name))
                if "ClientAppActor" in (place / "cmdline").read_text():
                    yield int(place.name)
        except OSError:
            continue


def test_a_cluster_finds_what_one_process_finds_and_goes_on_after_a_worker_was_lost(folder: Path) -> None:
    words = [*COMMAND, "--sites", "sites", "--out", "there", "--no-baseline", "--engine", "flower", "--ray"]
    with subprocess.Popen(words, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True) as begun:
        assert begun.stderr is not None
        for line in begun.stderr:
            if ": round " in line:
                os.kill(next(workers(begun.pid)), signal.SIGKILL)
                break
        told = begun.stderr.read()
        assert begun.wait() == 4
    assert "error: a worker of the Ray cluster was lost or failed" in told
    here, there = simulate(folder, "here"), simulate(folder, "there", "--engine", "flower", "--ray")
    assert (here.returncode, there.returncode) == (0, 0), there.stderr
    assert "FutureWarning" not in there.stderr
    assert torch.allclose(load_params(folder / "here"), load_params(folder / "there"), atol=1e-5)
    one, other = json.loads(here.stdout), json.loads(there.stdout)
    assert (one["engine"], other["engine"]) == ("vectorized", "flower-ray")
    assert [site["steps"] for site in one["sites"]] == [site["steps"] for site in other["sites"]]
    again = simulate(folder, "there")
    assert again.returncode == 4
    assert "--engine flower --ray" in again.stderr


def test_a_cluster_that_is_not_there_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    done = simulate(folder, "away", "--engine", "flower", "--ray")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("error: Ray does not answer at 127.0.0.1:1")


def test_the_option_goes_with_flower(folder: Path) -> None:
    done = simulate(folder, "no", "--ray")
    assert done.returncode == 2
    assert "--engine flower" in done.stderr
