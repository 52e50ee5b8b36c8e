"""`federation join`: looked at first, told what leaves, asked once; then the site, and how it stands."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clients.board.board import Board
from clients.board.page import html
from clients.journal.lock import alone
from clients.policy import load_site
from federation.cli.joining import table_of
from federation.live.page import policy_of
from federation.log import heard_by, note
from federation.plan.plan import load
from tests import ROOT
from tests.clients.preflight.test_plans import TEXT, write, write_plan
from tests.clients.sites import RUN, make_plan
from tests.clients.test_check import everything, spend
from tests.clients.test_join import ROWS
from tests.federation.command import Command
from tests.patience import patience
from tests.ports import free_port

PROGRAM = [sys.executable, "-c", "from federation.cli.start import main; main()"]
SCRIPT = '<script>alert("x")</script>'


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The calls that begin the site, which ends at once."""
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("clients.join.attend", lambda path, socket, tell, **more: calls.append(more))
    return calls


FOR_PEOPLE = f'{TEXT}\n[purpose]\nuse = "find heart disease"\ncontact = "dpo@example.org"\n'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with nothing wrong, and a plan that it approves beside it."""
    return write(tmp_path, write_plan(tmp_path).digest)


def test_where_nobody_can_be_asked_a_site_joins_by_yes_only(
    command: Command, site: Path, attended: list[dict[str, Any]]
) -> None:
    before = everything(site.parent)
    done = command("join", site, "--socket", site.parent / "s")
    assert (done.code, attended) == (2, [])
    assert done.err.splitlines()[-1].startswith(
        "error: nobody is here to be asked whether to join; give --yes"
    )
    assert everything(site.parent) == before
    assert command("join", site, "--socket", site.parent / "s", "--yes").code == 0
    assert len(attended) == 1


def test_a_service_logs_what_was_looked_at_and_what_will_leave(
    command: Command, site: Path, attended: list[dict[str, Any]]
) -> None:
    done = command("join", site, "--socket", site.parent / "s", "--yes", "--json-log")
    checked, leaves = map(json.loads, done.err.splitlines())
    assert checked["checks"] == ["program", "site file", "keys", "ledger", "plan", "budget", "schema"]
    assert "a masked vector of 6 numbers" in leaves["detail"]
    assert leaves["risk"].startswith("epsilon 3.000 at delta 1e-05 for one record")


def test_what_a_plan_is_for_is_told_before_the_question(
    command: Command, tmp_path: Path, attended: list[dict[str, Any]]
) -> None:
    site = write(tmp_path, write_plan(tmp_path, text=FOR_PEOPLE).digest)
    log = command("join", site, "--socket", site.parent / "s", "--yes", "--json-log").err
    assert json.loads(log.splitlines()[-1])["purpose"] == "find heart disease"


def rewrite(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def break_ledger(site: Path) -> None:
    spend(site, write_plan(site.parent)).close()
    (site.parent / "journal.sqlite").write_bytes(b"SQLite format 3\0" + bytes(100))


FAULTS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "no key": (lambda site: (site.parent / "keys" / "berlin.key").unlink(), 2, "there is no such key"),
    "open key": (lambda site: (site.parent / "keys" / "berlin.key").chmod(0o644), 2, "chmod 600"),
    "no data": (lambda site: (site.parent / "berlin.csv").unlink(), 2, "there is no such file"),
    "wrong schema": (lambda site: (site.parent / "berlin.csv").write_text("a,b\n1,2\n"), 2, "berlin.csv"),
    "wrong cell": (
        lambda site: rewrite(site.parent / "berlin.csv", ROWS[0], "SECRET,100,no"),
        2,
        'column "age"',
    ),
    "broken ledger": (break_ledger, 3, "journal.sqlite"),
    "low limit": (
        lambda site: rewrite(site, "epsilon_max = 8.0", "epsilon_max = 2.0"),
        3,
        "policy.epsilon_max",
    ),
    "spent budget": (lambda site: spend(site, make_plan(epsilon=7.9)).close(), 3, "per record"),
    "other noise": (lambda site: rewrite(site, '["distributed"]', '["site"]'), 3, "policy.noise"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_ends_it_with_a_line_and_a_code_of_its_own_before_anything_begins(
    command: Command, site: Path, attended: list[dict[str, Any]], fault: str
) -> None:
    spoil, code, words = FAULTS[fault]
    spoil(site)
    done = command("join", site, "--socket", site.parent / "s", "--yes")
    assert (done.code, attended) == (code, [])
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert any(words in line for line in errors), done.err
    assert "SECRET" not in done.err


def test_a_journal_that_another_process_uses_ends_it(
    command: Command, site: Path, attended: list[dict[str, Any]]
) -> None:
    with alone(load_site(site).journal):
        done = command("join", site, "--socket", site.parent / "s", "--yes")
    assert (done.code, attended) == (4, [])
    assert f"process {os.getpid()} uses the journal" in done.err


@pytest.mark.parametrize("address", ["0.0.0.0:0", "192.0.2.1:80", "fed.example.org:80", "8080"])
def test_a_status_page_for_others_is_refused_before_all_else(
    command: Command, site: Path, attended: list[dict[str, Any]], address: str
) -> None:
    done = command("join", site, "--socket", site.parent / "s", "--yes", "--status", address)
    assert (done.code, attended) == (2, [])
    assert "--status" in done.err


def test_the_status_page_shows_how_the_site_stands_and_nothing_as_markup(
    command: Command, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = f"http://127.0.0.1:{free_port()}/", {}

    def attend(*_: object, board: Board, **__: object) -> None:
        run = {"run": "ab" * 16, "name": SCRIPT, "plan": "sha256:0", "rounds": 9, "rounds_begun": 0}
        note("run_begins", **run, sites=["a", "b"])
        board.lost(SCRIPT)
        with urllib.request.urlopen(url) as answer:
            seen["page"], seen["policy"] = answer.read().decode(), answer.headers["Content-Security-Policy"]
        with urllib.request.urlopen(f"{url}snapshot.json") as answer:  # noqa: S310
            seen["snapshot"] = json.loads(answer.read())

    monkeypatch.setattr("clients.join.attend", attend)
    done = command("join", site, "--socket", site.parent / "s", "--yes", "--status", url[7:-1])
    assert done.code == 0, done.err
    assert url in done.err
    assert SCRIPT not in seen["page"]
    assert "default-src 'none'" in seen["policy"] and "unsafe" not in seen["policy"]
    assert seen["snapshot"]["runs"][0]["name"] == SCRIPT
    assert seen["snapshot"]["connection"] == "lost"
    assert {"name": "round", "words": "0 of 9"} in seen["snapshot"]["rows"]
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


def test_the_page_takes_nothing_from_elsewhere_and_makes_no_markup_of_what_it_is_told() -> None:
    page = html()
    # The one address in it names the drawing language, and is asked nothing.
    assert re.findall(r"(?:https?:)?//[\w.]+", page) == ["http://www.w3.org"]
    assert not re.search(r"\b(src|href|action|style|on\w+)\s*=\s*[\"']", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", page)
    assert "script-src 'sha256-" in policy_of(page) and "style-src 'sha256-" in policy_of(page)


def test_an_open_run_is_told_when_the_site_stops(
    command: Command, site: Path, attended: list[dict[str, Any]]
) -> None:
    spend(site, load(site.parent / "plan.toml")).close()
    done = command("join", site, "--socket", site.parent / "s", "--yes", "--json-log")
    last = json.loads(done.err.splitlines()[-1])
    assert (last["event"], last["run"], last["round"], last["rounds"]) == ("run_open", RUN.hex(), 0, 4)
    assert "stays charged" in last["detail"]
    assert last["command"] == f"federation join {site}"


def test_the_table_shows_names_as_they_are_and_what_is_wrong() -> None:
    board = Board("[red]site")
    with heard_by(board.hear):
        note("run_begins", run="ab" * 16, name="\x1b[2J[b]x", plan="p", rounds=9, rounds_begun=2, sites=["a"])
        board.lost("[link=x]gone")
    console = Console(file=io.StringIO(), width=100, markup=True)
    console.print(table_of(board, 100))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]site" in written and "[b]x" in written and "[link=x]gone" in written
    assert "\x1b[2J" not in written
    assert "2 of 9" in written


class Terminal:
    """`federation` on a terminal of its own."""

    def __init__(self, *words: object, width: int = 100, **environment: str) -> None:
        self._end, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
        self.process = subprocess.Popen(
            [*PROGRAM, *map(str, words)],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env={**known, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        os.close(theirs)
        self.written = ""

    def until(self, words: str) -> str:
        """What is written up to these words; AssertionError if they do not come."""
        ends = time.monotonic() + patience(60)
        while words not in self.written and time.monotonic() < ends and self._more():
            pass
        assert words in self.written, self.written
        return self.written

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def ended(self, *, told: int = 0) -> int:
        if told:
            self.process.send_signal(told)
        while self._more():
            pass
        os.close(self._end)
        return self.process.wait(timeout=patience(30))

    def _more(self) -> bool:
        try:
            ready, _, _ = select.select([self._end], [], [], patience(60))
            read = os.read(self._end, 1 << 16) if ready else b""
        except OSError:
            return False
        self.written += read.decode("utf-8", "replace")
        return bool(read)


@pytest.mark.waits
def test_on_a_terminal_a_person_is_asked_and_sees_a_table_until_ctrl_c(site: Path) -> None:
    (site.parent / "s").mkdir(mode=0o700)
    terminal = Terminal("join", site, "--socket", site.parent / "s" / "x", "--same-user")
    before = terminal.until("join? [y/N]")
    assert "What leaves this site under" in before and "hit rate at most 0.2" in before
    assert not (site.parent / "journal.sqlite").exists(), "nothing begins before the answer"
    terminal.type("y\n")
    terminal.until("Ctrl-C stops this site")
    terminal.until("by the local socket; no contact yet")
    assert terminal.ended(told=signal.SIGINT) == 0
    assert "stopped site=berlin" in terminal.written


@pytest.mark.waits
def test_a_no_sends_and_makes_nothing_and_plain_shows_no_table(tmp_path: Path) -> None:
    site = write(tmp_path, write_plan(tmp_path, text=FOR_PEOPLE).digest)
    terminal = Terminal("join", site, "--socket", site.parent / "x", "--same-user", "--plain", NO_COLOR="1")
    before = terminal.until("join? [y/N]")
    assert "is for, as its plan says" in before
    assert "find heart disease" in before
    terminal.type("n\n")
    assert terminal.ended() == 2
    assert "error: nothing was sent; answer y to join" in terminal.written
    assert not (site.parent / "journal.sqlite").exists()
    assert "\x1b[" not in terminal.written.replace("\x1b[?25l", "").replace("\x1b[?25h", "")


@pytest.mark.parametrize("height", [8, 10, 12, 24])
def test_on_a_short_terminal_the_newest_event_is_seen(height: int) -> None:
    board = Board("ash")
    board.connecting("fed.example.org:1")
    for number in range(5):
        board.lost(f"reason {number} " + "in many words " * 6)
    console = Console(width=80, height=height, file=io.StringIO())
    lines = console.render_lines(table_of(board, 80, height), pad=False)
    text = "".join(segment.text for line in lines for segment in line)
    assert len(lines) <= height
    assert text.count("reason 4") == 2, "the connection's, and the event's"
