"""`federation serve` and `federation status`: what a call gets, and a whole run in real processes.

The run: a coordinator, a SuperLink, TLS and node keys.
"""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from clients.board.board import Board
from clients.join import open_site, place_of
from clients.node.fleet import Fleet
from clients.node.line import Line
from clients.node.node import Node
from clients.policy import load_site
from federation.audit.examine import audit
from federation.cli.serving import _bars
from federation.identity.roles import create_coordinator, load_any_public, load_node
from federation.identity.roster_file import add_to_roster
from federation.log import LOGGER, note, to_stderr
from federation.plan.plan import parse
from server.link.certificates import own
from server.showing.snapshot import Glance
from tests import ROOT
from tests.federation.command import Command
from tests.ports import free_port
from tests.stories.test_flower_deployment import PLAN, SITES, write_institutions
from tests.worlds import text_of

COMMAND = [sys.executable, "-c", "from federation.cli.start import main; main()"]


@contextmanager
def as_nodes(institutions: Mapping[str, Path], server: str) -> Iterator[None]:
    """The sites as nodes in this process: `federation join` without the seconds in which a process starts."""
    with ExitStack() as stack:
        for name, path in institutions.items():
            path.write_text(f"{path.read_text()}[server]\n{server}")
            site, place = stack.enter_context(closing(open_site(path))), place_of(load_site(path), path)
            key, line = (
                load_node(path.parent / "keys" / f"{name}.node.key"),
                stack.enter_context(closing(Line(place))),
            )
            largest = partial(getattr, site, "largest")
            stack.enter_context(Node(name, Fleet(line, key), place, site.receive, largest, Board(name)))
        yield


@pytest.mark.waits
def test_a_run_from_the_command_line_with_sites_that_are_nodes(tmp_path: Path) -> None:
    """Interruptions of all kinds, and what a run comes to without: tests/stories/real."""
    plan, state = tmp_path / "plan.toml", tmp_path / "runs" / "first"
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
    with (
        as_nodes(institutions, f'address = "{address}"\ncertificate = "{pinned}"\n'),
        subprocess.Popen(
            [*COMMAND, "serve", *words, "--json-log"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process,
    ):
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(json.loads(line))
            if told[-1]["event"] == "round_begins":
                now = Glance(state)()
                assert (now["running"], now["phase"], now["cohort"]) == (True, "running", [*SITES])
                assert {site["connected"] for site in now["sites"]} == {True}
        assert process.wait() == 0, told
    assert sorted(line["site"] for line in told if line["event"] == "site_connected") == [*SITES]
    assert [line["round"] for line in told if line["event"] == "round_ends"] == [1, 2]
    names = {path.name for path in state.iterdir()}
    assert {"report.html", "report.json", "receipts.jsonl", "rounds", "params.safetensors"} <= names
    assert {path.name for path in (state / "link").iterdir()} == {"now.json", "superlink.log"}
    assert audit(state, []).verdict == "pass"
    now = Glance(state)()
    assert (now["running"], now["phase"], now["runs"][0]["rounds_done"]) == (False, "finished", 2)


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


def test_status_of_somebodys_run_folder_steers_no_terminal(federation: Command, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(text_of())
    line = {"run": "ab" * 16, "round": 1, "cohort": ["a\x1b]0;x\x07\nb"], "survivors": [], "seconds": 2}
    (tmp_path / "receipts.jsonl").write_text(json.dumps(line) + "\n")
    told = federation("status", tmp_path).out
    assert "0;x" in told
    assert all(c.isprintable() or c == "\n" for c in told)
    assert not any(row.startswith("b") for row in told.splitlines())


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
        note("waiting", name="heart", needed=3)
        note("run_begins", rounds=5, rounds_done=0)
        note("round_begins", round=1)
        note("round_ends", round=1, rounds=5)
        note("run_ends")
    assert seen == [("waiting for sites", 0, 0), ("heart", 0, 5), ("heart", 1, 5)]
    told = listener.stream.getvalue().splitlines()
    assert [line.partition(" rounds")[0].partition(" name")[0] for line in told] == [
        "waiting",
        "run begins",
        "run ends",
    ]
