"""How the command ends, seen from outside: real processes, real signals, real pipes; a status that is true."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from federation.audit.examine import audit
from federation.ledger.export import load_entries
from tests import ROOT
from tests.patience import patience
from tests.stories.halted import ERR, MARK, OUT
from tests.worlds import NAMES, text_of, write_sites

pytestmark = pytest.mark.waits

ROUNDS = 3
SIMULATE = ["simulate", "plan.toml", "--sites", "sites", "--out", "my run"]
ENTRY = "from federation.cli.start import main; main()"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


class Command:
    """The command in processes of its own; `tests.stories.halted` says how."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.out = self.err = ""

    def __call__(self, folder: Path, words: list[str], **more: Any) -> int:
        """Its exit status; what it wrote is in `out` and `err`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(
            json.dumps({"folder": str(folder), "words": words, **more}), file=self._process.stdin, flush=True
        )
        status = int(self._process.stdout.readline())
        self.out = (folder / OUT).read_text() if (folder / OUT).exists() else ""
        self.err = (folder / ERR).read_text() if (folder / ERR).exists() else ""
        return status

    @property
    def error(self) -> str:
        """The error, which is one line and the last."""
        lines = self.err.splitlines()
        assert "Traceback" not in self.err
        assert "ignored" not in self.err
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
        return lines[-1]


@pytest.fixture(scope="module")
def command() -> Iterator[Command]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.stories.halted"], env=ENVIRONMENT, cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        yield Command(process)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_sites(tmp_path / "sites")
    # Without sampling, noise is found and accounted in no time: these tests are about how a command ends.
    (tmp_path / "plan.toml").write_text(text_of(noise="distributed", rounds=ROUNDS, sample_rate=1.0))
    return tmp_path


def started(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A shell's line, in which $federation is the command, started as an installed one is."""
    environment = {**ENVIRONMENT, "federation": shlex.join([sys.executable, "-c", ENTRY])}
    return subprocess.run(
        ["bash", "-c", line.replace("federation ", "eval exec $federation ", 1)],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=patience(60), check=False,
    )  # fmt: skip


INSTANTS = {
    "while data are read": "simulations.simulate:read_world",
    "in a round": "simulations.vectorized:advance",
    "while epsilon is counted": "simulations.simulate:summarize",
    "in the comparison": "simulations.simulate:without_privacy",
    "while the page is drawn": "federation.report.page:render",
}


@pytest.mark.parametrize(
    ("place", "number"),
    list(zip(INSTANTS.values(), itertools.cycle([signal.SIGINT, signal.SIGTERM]), strict=False)),
    ids=INSTANTS,
)
def test_a_simulation_that_a_signal_ends_says_so_and_goes_on_by_the_command_that_it_tells(
    command: Command, home: Path, place: str, number: signal.Signals
) -> None:
    assert command(home, SIMULATE, place=place, signal=number) == STATUS[number]
    assert command.out == ""
    assert command.error.startswith(f"error: {WORDS[number]}; ")
    assert ("resume with" in command.error) == (home / "my run" / "plan.toml").exists()
    words = shlex.split(command.error.partition(" with: ")[2])
    assert words == ["federation", *SIMULATE]
    assert command(home, words[1:]) == 0, command.err
    assert audit(home / "my run").verdict == "pass"
    for name in NAMES[:3]:
        kinds = [entry.kind for entry in load_entries(home / "my run" / "journals" / f"{name}.sqlite")]
        assert (kinds.count("reserve"), kinds.count("begin"), kinds.count("close")) == (1, ROUNDS, 1)


@pytest.mark.parametrize("engine", ["protocol", "flower"])
def test_an_engine_with_threads_ends_in_the_same_way(command: Command, home: Path, engine: str) -> None:
    words = [*SIMULATE, "--engine", engine]
    assert command(home, words, place="server.run:advance", signal=signal.SIGTERM) == 143
    assert command.error.startswith("error: terminated; resume with: ")
    assert command(home, words) == 0, command.err


def test_a_folder_that_was_not_named_is_named_in_the_command_to_resume(command: Command, home: Path) -> None:
    words = ["simulate", "plan.toml", "--sites", "sites"]
    assert command(home, words, place=INSTANTS["in a round"], signal=signal.SIGINT) == 130
    told = "federation simulate plan.toml --sites sites --out runs/trees-1"
    assert command.error == f"error: interrupted; resume with: {told}"


OTHERS = {
    "demo": (["demo", "--out", "run"], "simulations.simulate:read_world"),
    "check": (["check", "plan.toml"], "federation.report.planned:plan_facts"),
    "budget": (["budget", "plan.toml"], "simulations.budgets:budget_of"),
    "audit": (["audit", "."], "federation.audit.examine:read_plan"),
    "ledger": (["ledger", "show", "x.sqlite"], "federation.ledger.export:load_entries"),
    "join": (["join", "site.toml"], "clients.policy:load_site"),
}


@pytest.mark.parametrize(("name", "number"), list(zip(OTHERS, itertools.cycle(STATUS), strict=False)))
def test_every_command_that_a_signal_ends_says_so(
    command: Command, home: Path, name: str, number: signal.Signals
) -> None:
    words, place = OTHERS[name]
    assert command(home, words, place=place, signal=number) == STATUS[number]
    assert command.error.startswith(f"error: {WORDS[number]}; ")


def test_a_signal_during_start_up_is_answered(home: Path) -> None:
    """Here nothing is imported beforehand; the signal comes while torch, opacus and all else are."""
    code = "from federation.cli import start; from pathlib import Path; run = start.run\n"
    code += f"start.run = lambda work: run(lambda: Path('{MARK}').touch() or work()); start.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *SIMULATE], cwd=home, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    while not (home / MARK).exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=patience(60))
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("error: interrupted; ")


@pytest.mark.parametrize("words", [["--help"], ["budget", "plan.toml", "--json"], ["check", "plan.toml"]])
def test_a_reader_that_goes_away_ends_the_command_quietly(
    command: Command, home: Path, words: list[str]
) -> None:
    assert command(home, words, stdout="") == 141
    assert "error" not in command.err


def test_a_reader_that_goes_away_is_no_error_at_exit_either(home: Path) -> None:
    done = started("federation --help | head -1; exit ${PIPESTATUS[0]}", home)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_result_that_cannot_be_written_is_an_error_and_the_run_stands(command: Command, home: Path) -> None:
    assert command(home, SIMULATE, stdout="/dev/full") == 4
    assert command.error.startswith("error: stdout cannot be written (No space left on device); ")
    assert (home / "my run" / "report.html").exists()


def test_a_stdout_that_is_closed_from_the_start_is_an_error(home: Path) -> None:
    done = started("federation --help >&-", home)
    assert done.returncode == 4
    assert done.stderr.startswith("error: stdout is closed; ")


def test_words_that_nobody_can_read_on_stderr_end_nothing(command: Command, home: Path) -> None:
    for silent in ("2>&-", "2>/dev/full"):
        done = started(f"federation roster add none.toml none.pub {silent}", home)
        assert (done.returncode, done.stdout) == (2, "")
    assert command(home, SIMULATE, stderr="/dev/full") == 0
    assert audit(home / "my run").verdict == "pass"
