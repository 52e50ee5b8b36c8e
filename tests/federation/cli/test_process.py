"""Statuses and lines of the command, in this process. tests/stories/test_endings.py has the real signals."""

from __future__ import annotations

import ast
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from federation.cli.process import advise, command_line, end_by, run
from federation.cli.streams import OutputLost
from federation.errors import InputError
from federation.log import tell_end, to_stderr, warnings_to_stderr
from tests import ROOT
from tests.plans import text_of


def raising(error: BaseException) -> int:
    def work() -> int:
        raise error

    return run(work)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (OutputLost(errno.EPIPE), 141, ""),
        (OutputLost(errno.ENOSPC), 4, "error: stdout cannot be written (No space left on device); "),
        (OutputLost(errno.EBADF), 4, "error: stdout is closed; "),
        (OSError(errno.ENOSPC, "x"), 4, "error: No space left on device; make room, "),
        (OSError(errno.EPIPE, "x"), 1, "error: unexpected BrokenPipeError: a bug of ours"),
        (SystemExit(3), 3, ""),
        (SystemExit(), 0, ""),
    ],
)
def test_each_end_has_its_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, words: str
) -> None:
    assert raising(error) == status
    told = capsys.readouterr().err
    assert told.startswith(words)
    assert told.count("\n") == bool(words)


def test_whatever_a_signal_turned_into_on_its_way_it_is_the_signal_s_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Other people's code may turn the exception into another one, an ImportError for example."""

    def work() -> int:
        advise(lambda: "resume with: federation simulate 'a  b'")
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except KeyboardInterrupt:
            raise ImportError from None
        return 0

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert run(work) == 143
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    assert before == signal.SIG_DFL
    assert capsys.readouterr().err == "error: terminated; resume with: federation simulate 'a  b'\n"


def test_what_the_process_was_told_to_ignore_stays_ignored() -> None:
    """By nohup, or as a job in the background."""

    def work() -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 7

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(work) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back_where_nothing_happened() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert run(lambda: 0) == 0
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize(
    "word", ["plan.toml", "my  plan.toml", "it's", "a\nb", "a\tb'c\\d", "", "ü", "zero\u200bwidth", "$HOME"]
)
def test_a_command_is_one_line_that_a_shell_reads_back(word: str) -> None:
    line = command_line(["printf", "%s", word])
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == word


def imported_by(module: str) -> set[str]:
    """The packages that are loaded when this module is."""
    code = f"import sys, {module}; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ast.literal_eval(done.stdout)}


def test_nothing_slow_is_imported_before_a_signal_is_answered() -> None:
    slow = {"click", "typer", "rich", "torch", "numpy", "pydantic"}
    assert imported_by("federation.cli.start").isdisjoint(slow)


def test_what_only_some_commands_need_is_not_imported_for_all() -> None:
    assert imported_by("federation.cli.main").isdisjoint({"rich", "torch", "numpy", "pydantic", "flwr"})


LIGHT = """
import contextlib, io, sys
from pathlib import Path
from federation.cli.main import dispatch
from federation.errors import InputError

def loaded(*words, status=0):
    sys.argv, told, found = ["federation", *words], io.StringIO(), 0
    with contextlib.redirect_stdout(told):
        try:
            found = dispatch()
        except InputError as error:
            found = error.exit_code
    assert found == status, told.getvalue()
    heavy = ("torch", "opacus", "sklearn", "pandas", "flwr", "grpc", "fastapi", "dp_accounting", "scipy.stats")
    return [name for name in heavy if name in sys.modules]

place = Path(sys.argv[1])
plan = str(place / "plan.toml")
assert not loaded("--version")
assert not loaded("--help")
assert not loaded("keys", "new", str(place / "keys"), "--id", "ash")
assert not loaded("keys", "new", str(place / "coordinator"), "--id", "hub", "--coordinator")
assert not loaded("roster", "add", str(place / "roster.toml"), str(place / "keys" / "ash.pub"))
assert not loaded("doctor")
assert not loaded("mock", plan, "--rows", "20", "--out", str(place / "mock"))
assert not loaded("ledger", "show", str(place / "ash.jsonl"), status=2)
assert not loaded("status", str(place / "run"), status=2)
import clients.approvals, federation.ledger.statement, server.showing.snapshot  # what these two begin with
assert not loaded("check", plan)
assert not loaded("budget", plan)
assert not loaded("budget", plan, "--sweep", "rounds=5,6")
"""


def test_commands_that_look_load_nothing_that_trains(tmp_path: Path) -> None:
    """Neither torch nor Flower; and once a plan was calibrated, no library of accountants either."""
    (tmp_path / "plan.toml").write_text(text_of(rounds=3), encoding="utf-8")
    warm = "import sys; from federation.cli.main import dispatch; sys.exit(dispatch())"
    for program, words in ((warm, ["budget", str(tmp_path / "plan.toml")]), (LIGHT, [str(tmp_path)])):
        done = subprocess.run(
            [sys.executable, "-c", program, *words], check=False, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("error", "event", "status"),
    [(InputError("no such file"), "failed", 2), (KeyboardInterrupt(), "stopped", 130)],
)
def test_a_log_of_objects_ends_with_one_and_the_next_command_has_its_own_form(
    capsys: pytest.CaptureFixture[str], error: BaseException, event: str, status: int
) -> None:
    def work() -> int:
        to_stderr(as_json=True)
        end_by(tell_end)
        raise error

    try:
        assert run(work) == status
        (line,) = capsys.readouterr().err.splitlines()
        told = json.loads(line)
        assert (told["event"], told["level"], told["status"]) == (event, "warning", status)
        assert told["detail"]
        assert raising(InputError("no such file")) == 2
        assert capsys.readouterr().err == "error: no such file\n"
        to_stderr()
        end_by(tell_end)
        assert not tell_end("words", 2)
    finally:
        warnings_to_stderr()
