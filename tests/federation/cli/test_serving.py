"""`federation serve` and `federation status`: what a call gets, and a whole run in real processes.

The run: sites by `federation join`, TLS, node keys; interrupted, and resumed.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from federation.audit.examine import audit
from federation.cli.serving import _bars
from federation.identity.roles import create_coordinator, load_any_public
from federation.identity.roster_file import add_to_roster
from federation.log import LOGGER, note, to_stderr
from federation.plan.plan import parse
from server.link.certificates import own
from server.showing.snapshot import Glance
from simulations.simulate import simulate
from tests import ROOT
from tests.federation.command import Command
from tests.patience import patience
from tests.stories.test_flower_deployment import PLAN, SITES, joined, write_institutions
from tests.worlds import text_of

COMMAND = [sys.executable, "-c", "from federation.cli.start import main; main()"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Serving:
    """The command in a process of its own; what it has said, line by line."""

    def __init__(self, words: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", *words, "--json-log"],
                stderr=stderr,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]

    def until(self, event: str) -> None:
        ends = time.monotonic() + patience(60)
        while event not in [line["event"] for line in self.events()]:
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < ends, self._log.read_text()
            time.sleep(0.05)

    def ends(self) -> tuple[int, str]:
        """Its exit status and its last line."""
        code = self.process.wait(patience(60))
        return code, self._log.read_text().splitlines()[-1]


@pytest.mark.waits
def test_a_run_is_interrupted_resumed_and_gets_what_a_simulation_gets(tmp_path: Path) -> None:
    plan, state, told = tmp_path / "plan.toml", tmp_path / "runs" / "first", dict[str, list[Any]]()
    plan.write_text(PLAN)
    institutions = write_institutions(tmp_path / "sites", parse(PLAN).digest, with_nodes=True)
    pinned, address = own(tmp_path / "tls", "localhost").pinned, f"localhost:{free_port()}"
    words = [
        str(plan),
        "--roster",
        str(tmp_path / "roster.toml"),
        "--state",
        str(state),
        "--address",
        address,
    ]
    with ExitStack() as stack:
        first = Serving(words, tmp_path / "first.log")
        stack.callback(first.process.kill)
        for path in institutions.values():
            path.write_text(f'{path.read_text()}[server]\naddress = "{address}"\ncertificate = "{pinned}"\n')
            stack.enter_context(joined(path, None, told))
        first.until("round_ends")
        assert Glance(state)()["running"]
        first.process.send_signal(signal.SIGINT)
        code, line = first.ends()
        assert (code, line.partition("; ")[0]) == (130, "error: interrupted")
        assert f"resume with: federation serve {plan}" in line
        assert Glance(state)()["phase"] == "interrupted"
        second = Serving(words, tmp_path / "second.log")
        stack.callback(second.process.kill)
        assert second.ends()[0] == 0, (tmp_path / "second.log").read_text()
    check_story(first.events(), second.events())
    check_folder(state)
    simulate(
        parse(PLAN), tmp_path / "sites", tmp_path / "simulated", engine="protocol", progress=lambda *_: None
    )
    served, expected = (load_file(path / "params.safetensors") for path in (state, tmp_path / "simulated"))
    assert all(torch.equal(served[name], expected[name]) for name in expected)


def check_story(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    """Each site was told when it came; the second process went on after the rounds of the first."""
    assert sorted(line["site"] for line in first if line["event"] == "site_connected") == [*SITES]
    done = [line["round"] for line in first + second if line["event"] == "round_ends"]
    assert done == [1, 2]
    assert next(line for line in second if line["event"] == "run_resumed")["rounds_done"] == 1
    assert second[-1]["event"] == "run_ends"


def check_folder(state: Path) -> None:
    """All files of a run, an audit that passes, and nothing of what was under way."""
    names = {path.name for path in state.iterdir()}
    assert {"report.html", "report.json", "receipts.jsonl", "rounds", "params.safetensors"} <= names
    assert {path.name for path in (state / "link").iterdir()} == {"now.json", "superlink.log"}
    assert audit(state, []).verdict == "pass"
    now = Glance(state)()
    assert (now["phase"], now["runs"][0]["rounds_done"]) == ("finished", 2)


@pytest.fixture
def federation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A call with a plan and a roster of a coordinator and nobody else."""
    (tmp_path / "plan.toml").write_text(text_of())
    add_to_roster(
        tmp_path / "roster.toml", load_any_public(create_coordinator(tmp_path / "own", "coordinator")[1])
    )
    return [
        "serve",
        f"{tmp_path / 'plan.toml'}",
        "--roster",
        f"{tmp_path / 'roster.toml'}",
        "--state",
        f"{tmp_path / 'run'}",
        "--identity",
        f"{tmp_path / 'own'}",
    ]


def test_what_is_wrong_with_a_call_is_told_before_anything_is_started(
    federation: Command, words: list[str], tmp_path: Path
) -> None:
    done = federation(*words)
    assert (done.code, done.out) == (4, "")
    assert "names the node's key of 0 sites, and cohort.minimum is 3" in done.err
    assert "coordinator's key is not there" in federation(*words[:-1], tmp_path / "none").err
    (tmp_path / "roster.toml").write_text("serial = 1\n")
    assert "names no coordinator's key" in federation(*words).err
    (tmp_path / "plan.toml").write_text("[federation]\nnam = 1")
    done = federation(*words)
    assert done.code == 2
    assert "plan.toml:2" in done.err
    assert not (tmp_path / "run").exists()


def test_status_tells_rounds_and_who_was_missing(federation: Command, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(text_of())
    line = {
        "run": "ab" * 16,
        "round": 1,
        "cohort": ["ash", "oak"],
        "survivors": ["ash"],
        "seconds": 2,
        "attempts": 1,
    }
    (tmp_path / "receipts.jsonl").write_text(json.dumps(line) + "\n")
    done = federation("status", tmp_path)
    assert done.code == 0
    assert "coordinator  interrupted" in done.out
    assert "1 of 3 rounds, not finished" in done.out
    assert "round 1: 1 answered in 2.0 s, missing oak (silent)" in done.out
    assert "site         oak  in 0 of 1 sums" in done.out
    told = federation("status", tmp_path, "--json").json
    assert (told["schema"], told["runs"][0]["rounds_done"]) == ("federation.status/1", 1)
    assert federation("status", tmp_path / "none").code == 2


def test_on_a_terminal_a_round_is_a_bar_and_not_two_lines() -> None:
    seen: list[tuple[str, int, int]] = []
    listener = logging.StreamHandler(io.StringIO())
    to_stderr()
    LOGGER.addHandler(listener)
    shown = SimpleNamespace(
        stage=lambda what: seen.append((what, 0, 0)),
        rounds=lambda name, done, total, _: seen.append((name, done, total)),
    )
    with _bars(shown):
        note("waiting", plan="heart", sites=3)
        note("run_begins", rounds=5, rounds_done=0)
        note("round_begins", round=1)
        note("round_ends", round=1, rounds=5)
        note("run_ends")
    assert seen == [("waiting for sites", 0, 0), ("heart", 0, 5), ("heart", 1, 5)]
    told = listener.stream.getvalue().splitlines()
    assert [line.partition(" rounds")[0].partition(" plan")[0] for line in told] == [
        "waiting",
        "run begins",
        "run ends",
    ]
