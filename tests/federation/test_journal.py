"""The journal: charged before anything, the same bytes after a crash, one winner in a race, and no way around."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from federation import chain
from federation.chain import JournalUnavailable
from federation.journal import Journal
from privacy import ledger
from privacy.accountant import epsilon
from privacy.budget import Budget
from privacy.errors import BudgetExceeded, LedgerCorrupt, PolicyViolation, PrivacyError, ProtocolError
from privacy.events import GaussianEvent, NonPrivateEvent

ROOT = Path(__file__).parents[2]
PLAN = GaussianEvent(20.0, 1.0, 100)  # epsilon 2.0 at delta 1e-5
BUDGET = Budget(3.0, 1e-5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = reopened(path)
    opened.reserve("run", "plan", PLAN, 100, BUDGET)
    yield opened
    opened.close()


def reopened(path: Path) -> Journal:
    return Journal.open(path, site="north", pool="cardiology")


def release(journal: Journal, number: int, payload: bytes) -> None:
    assert journal.begin("run", number, "params") is None
    journal.release("run", number, payload)


def kinds(journal: Journal) -> list[str]:
    return [entry.kind for entry in journal.entries()]


def test_a_round_leaves_its_trace_and_survives_closing(path: Path, journal: Journal) -> None:
    release(journal, 1, b"noised")
    journal.mask("run", 1, 1)
    journal.reveal("run", 1, "survivors")
    before = journal.entries()
    journal.close()
    again = reopened(path)
    assert again.entries() == before
    assert kinds(again) == ["genesis", "reserve", "begin", "release", "mask", "reveal"]
    assert again.begin("run", 1, "params") == b"noised"
    assert again.rounds_begun("run") == ledger.begun_rounds(before, "run") == 1
    assert again.rounds_begun("another") == 0
    again.close()


def test_a_new_journal_is_its_owners_alone_and_leaves_no_draft(path: Path) -> None:
    reopened(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_plan_is_charged_whole_and_once(journal: Journal) -> None:
    journal.reserve("run", "plan", PLAN, 100, BUDGET)
    assert kinds(journal) == ["genesis", "reserve"]
    assert journal.spent(1e-5) == epsilon([PLAN], 1e-5)
    assert ledger.events(journal.entries()) == (PLAN,)


def test_a_run_keeps_the_plan_it_was_reserved_for(journal: Journal) -> None:
    for changed in (("other", PLAN, 100), ("plan", GaussianEvent(21.0, 1.0, 100), 100), ("plan", PLAN, 101)):
        with pytest.raises(PolicyViolation, match="another plan"):
            journal.reserve("run", *changed, BUDGET)


def test_runs_add_up_and_the_one_past_the_budget_is_refused_in_writing(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded, match=r"budget is epsilon 3 .* 1.993 is spent"):
        journal.reserve("second", "plan", GaussianEvent(10.0, 1.0, 100), 100, BUDGET)
    assert kinds(journal)[-1] == "refuse"
    with pytest.raises(PolicyViolation, match="no reservation"):
        journal.begin("second", 1, "params")
    assert journal.spent(1e-5) == epsilon([PLAN], 1e-5)
    journal.reserve("third", "plan", GaussianEvent(100.0, 1.0, 100), 100, BUDGET)


def test_a_reservation_without_noise_ends_all_privacy(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded):
        journal.reserve("open", "plan", NonPrivateEvent(), 10, BUDGET)
    journal.reserve("open", "plan", NonPrivateEvent(), 10, Budget(float("inf"), 1e-5))
    assert journal.spent(1e-5) == float("inf")
    with pytest.raises(BudgetExceeded, match="inf is spent"):
        journal.reserve("late", "plan", GaussianEvent(1e5, 1.0, 1), 1, Budget(1e6, 1e-5))


def test_a_begun_round_may_be_computed_again_until_it_is_released(journal: Journal) -> None:
    assert journal.begin("run", 1, "params") is None
    assert journal.begin("run", 1, "params") is None
    journal.release("run", 1, b"noised")
    assert journal.begin("run", 1, "params") == b"noised"
    journal.release("run", 1, b"noised")
    assert kinds(journal).count("begin") == kinds(journal).count("release") == 1


def test_a_second_draw_for_one_charge_is_refused_even_between_two_processes(
    path: Path, journal: Journal
) -> None:
    other = reopened(path)
    assert journal.begin("run", 1, "params") is None
    assert other.begin("run", 1, "params") is None
    other.release("run", 1, b"first")
    with pytest.raises(PolicyViolation, match="other noise"):
        journal.release("run", 1, b"second")
    assert journal.begin("run", 1, "params") == b"first"
    other.close()


def test_other_params_for_a_begun_round_are_refused(journal: Journal) -> None:
    journal.begin("run", 1, "params")
    with pytest.raises(PolicyViolation, match="other params"):
        journal.begin("run", 1, "crafted")
    journal.release("run", 1, b"noised")
    with pytest.raises(PolicyViolation, match="other params"):
        journal.begin("run", 1, "crafted")


def test_a_round_whose_bytes_are_no_longer_kept_is_over(journal: Journal) -> None:
    release(journal, 1, b"one")
    release(journal, 2, b"two")
    with pytest.raises(PolicyViolation, match="is over"):
        journal.begin("run", 1, "params")
    assert journal.begin("run", 2, "params") == b"two"


def test_rounds_outside_the_reservation_are_refused(journal: Journal) -> None:
    with pytest.raises(BudgetExceeded, match="101"):
        journal.begin("run", 101, "params")
    with pytest.raises(PolicyViolation):
        journal.begin("run", 0, "params")
    with pytest.raises(PolicyViolation, match="no reservation"):
        journal.begin("unknown", 1, "params")
    with pytest.raises(PolicyViolation, match="not begun"):
        journal.release("run", 1, b"early")
    assert kinds(journal) == ["genesis", "reserve"]


def test_a_sum_is_opened_for_one_set_of_survivors(journal: Journal) -> None:
    with pytest.raises(ProtocolError, match="not released"):
        journal.reveal("run", 1, "all")
    release(journal, 1, b"noised")
    journal.reveal("run", 1, "all")
    journal.reveal("run", 1, "all")
    with pytest.raises(ProtocolError, match="other survivors"):
        journal.reveal("run", 1, "all but one")
    assert kinds(journal).count("reveal") == 1


def test_an_attempt_is_masked_once_and_none_before_it_again(path: Path, journal: Journal) -> None:
    release(journal, 1, b"noised")
    journal.mask("run", 1, 2)
    for over in (2, 1, 0, -1):
        with pytest.raises(PolicyViolation, match=f"attempt {over} at round 1 is over; begin another"):
            journal.mask("run", 1, over)
    other = reopened(path)  # another process, or this one after it was killed
    with pytest.raises(PolicyViolation, match="attempt 2 at round 1 is over"):
        other.mask("run", 1, 2)
    other.mask("run", 1, 7)
    for over in (2, 3, 7):
        with pytest.raises(PolicyViolation, match="is over"):
            journal.mask("run", 1, over)
    journal.mask("run", 1, 8)
    assert [entry.body["attempt"] for entry in journal.entries() if entry.kind == "mask"] == [2, 7, 8]
    other.close()


def test_attempts_are_counted_for_each_round_and_run_by_itself(journal: Journal) -> None:
    journal.reserve("second", "plan", GaussianEvent(100.0, 1.0, 100), 100, BUDGET)
    release(journal, 1, b"one")
    journal.mask("run", 1, 5)
    release(journal, 2, b"two")
    journal.mask("run", 2, 1)
    assert journal.begin("second", 1, "params") is None
    journal.release("second", 1, b"other")
    journal.mask("second", 1, 1)
    assert kinds(journal).count("mask") == 3


def test_what_was_not_released_is_not_masked(journal: Journal) -> None:
    with pytest.raises(PolicyViolation, match="no reservation"):
        journal.mask("unknown", 1, 1)
    with pytest.raises(PolicyViolation, match="not released"):
        journal.mask("run", 1, 1)
    journal.begin("run", 1, "params")
    with pytest.raises(PolicyViolation, match="not released"):
        journal.mask("run", 1, 1)
    assert kinds(journal) == ["genesis", "reserve", "begin"]


def test_a_full_disk_masks_nothing(journal: Journal) -> None:
    release(journal, 1, b"noised")
    journal._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalUnavailable):
        journal.mask("run", 1, 1)
    journal._connection.execute("PRAGMA query_only = OFF")
    journal.mask("run", 1, 1)
    assert kinds(journal) == ["genesis", "reserve", "begin", "release", "mask"]


def test_threads_may_share_a_journal(journal: Journal) -> None:
    def rounds(start: int) -> None:
        for number in range(start, 41, 4):
            journal.begin("run", number, "params")

    threads = [threading.Thread(target=rounds, args=(start,)) for start in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.rounds_begun("run") == 40
    ledger.verify(journal.entries())


# What is on the disk is not what was written.


@pytest.fixture
def closed(path: Path, journal: Journal) -> Path:
    release(journal, 1, b"noised " * 30)
    journal.mask("run", 1, 1)
    journal.reveal("run", 1, "all")
    journal.begin("run", 2, "params")
    journal.close()
    return path


def test_a_changed_byte_is_refused_or_changes_nothing(closed: Path, tmp_path: Path) -> None:
    original = closed.read_bytes()
    journal = reopened(closed)
    expected = journal.entries()
    journal.close()
    refused = 0
    copy = tmp_path / "copy.sqlite"
    for offset in range(0, len(original), 61):
        copy.write_bytes(original[:offset] + bytes([original[offset] ^ 0xFF]) + original[offset + 1 :])
        try:
            changed = reopened(copy)
        except PrivacyError:
            refused += 1
        else:
            assert changed.entries() == expected
            assert changed.begin("run", 1, "params") == b"noised " * 30
            changed.close()
    assert refused > 0


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_refused(closed: Path, share: float) -> None:
    closed.write_bytes(closed.read_bytes()[: int(closed.stat().st_size * share)])
    with pytest.raises(PrivacyError, match=r"release nothing|nothing was released"):
        reopened(closed)


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to look like one" * 100, b"", b"PK\3\4"]
)
def test_what_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerCorrupt):
        reopened(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = replace(body, '\"rounds\":100', '\"rounds\":999') WHERE kind = 'reserve'",
        "UPDATE entries SET body = 'rubbish' WHERE seq = 2",
        "UPDATE entries SET body = '[' WHERE seq = 2",
        "UPDATE entries SET body = NULL WHERE seq = 2",
        "UPDATE entries SET body = '{\"x\":1e999}' WHERE seq = 2",
        "UPDATE entries SET kind = 'genesis' WHERE seq = 2",
        "UPDATE entries SET previous = 'text' WHERE seq = 2",
        "UPDATE entries SET hash = NULL WHERE seq = 2",
        "UPDATE entries SET seq = seq + 1 WHERE seq = 6",
        "UPDATE entries SET body = replace(body, '\"attempt\":1', '\"attempt\":0') WHERE kind = 'mask'",
        "DELETE FROM entries WHERE kind = 'mask'",
        "DELETE FROM entries WHERE seq = 2",
        "DELETE FROM entries WHERE seq = 0",
        "DELETE FROM entries",
        "INSERT INTO entries SELECT seq + 9, kind, body, previous, hash FROM entries WHERE seq = 5",
        "UPDATE releases SET payload = x'00'",
        "UPDATE releases SET payload = 'text'",
        "UPDATE releases SET round = 2",
        "UPDATE releases SET run = 'unknown'",
        "CREATE TRIGGER quiet AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE seq = new.seq; END",
        "DROP TABLE releases",
        "DROP TABLE entries",
    ],
)
def test_a_changed_row_or_table_is_refused(closed: Path, statement: str) -> None:
    with sqlite3.connect(closed) as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(PrivacyError):
        reopened(closed)


def test_a_row_removed_while_the_journal_is_open_is_seen(path: Path, journal: Journal) -> None:
    journal.begin("run", 1, "params")
    journal.rounds_begun("run")
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM entries WHERE kind = 'begin'")
    connection.close()
    with pytest.raises(LedgerCorrupt, match="cut or rewritten"):
        journal.begin("run", 2, "params")


@pytest.mark.parametrize(("site", "pool"), [("south", "cardiology"), ("north", "oncology")])
def test_another_sites_or_pools_journal_is_refused(closed: Path, site: str, pool: str) -> None:
    with pytest.raises(LedgerCorrupt, match="another site or pool"):
        Journal.open(closed, site=site, pool=pool)


# The disk does not cooperate. Tests may run as root, whom no permission stops, so SQLite is told to refuse.


def test_a_read_only_database_releases_nothing(journal: Journal) -> None:
    journal._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalUnavailable, match="nothing was released"):
        journal.begin("run", 1, "params")
    journal._connection.execute("PRAGMA query_only = OFF")
    assert kinds(journal) == ["genesis", "reserve"]


def test_a_full_disk_releases_nothing_and_heals(journal: Journal) -> None:
    journal.begin("run", 1, "params")
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalUnavailable, match="full"):
        journal.release("run", 1, bytes(1_000_000))
    journal._connection.execute("PRAGMA max_page_count = 100000")
    assert kinds(journal) == ["genesis", "reserve", "begin"]
    journal.release("run", 1, bytes(1_000_000))
    assert journal.begin("run", 1, "params") == bytes(1_000_000)


def test_a_locked_database_releases_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "_WAIT_SECONDS", 0.05)
    journal = reopened(path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalUnavailable, match="locked"):
        journal.reserve("run", "plan", PLAN, 100, BUDGET)
    holder.close()
    journal.reserve("run", "plan", PLAN, 100, BUDGET)
    journal.close()


def test_a_folder_that_is_missing_or_in_the_way_is_said(tmp_path: Path) -> None:
    for wrong in (tmp_path / "missing" / "journal.sqlite", tmp_path):
        with pytest.raises(JournalUnavailable):
            reopened(wrong)


def test_a_read_only_folder_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(chain.os, "open", refuse)
    with pytest.raises(JournalUnavailable, match="Read-only file system"):
        reopened(path)
    assert not path.exists()


# Other processes, and the end of this one.


def child(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


RACER = """
import sys
from pathlib import Path
from federation.journal import Journal
from privacy.budget import Budget
from privacy.errors import BudgetExceeded
from privacy.events import GaussianEvent

journal = Journal.open(Path(sys.argv[1]), site="north", pool="cardiology")
print("ready", flush=True)
run = sys.stdin.readline().strip()
try:
    journal.reserve(run, "plan", GaussianEvent(20.0, 1.0, 100), 100, Budget(2.5, 1e-5))
    print("won", flush=True)
except BudgetExceeded:
    print("lost", flush=True)
"""


def test_of_processes_racing_for_the_last_of_the_budget_one_wins(path: Path) -> None:
    racers = [child(RACER, path) for _ in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for number, racer in enumerate(racers):
        assert racer.stdin is not None
        racer.stdin.write(f"run {number}\n")
        racer.stdin.flush()
    outcomes = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
    assert outcomes == ["lost", "lost", "lost", "won"]
    journal = reopened(path)
    assert sorted(kinds(journal)) == ["genesis", "refuse", "refuse", "refuse", "reserve"]
    journal.close()


# Dies by its own SIGKILL just before the n-th SQL statement, counted over creation, opening and two rounds.
MORTAL = """
import os, signal, sqlite3, sys
from pathlib import Path

left = LIMIT
def count(statement):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

connect = sqlite3.connect
def traced(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_trace_callback(count)
    return connection
sqlite3.connect = traced

from federation.journal import Journal
from privacy.budget import Budget
from privacy.events import GaussianEvent

journal = Journal.open(Path(sys.argv[1]), site="north", pool="cardiology")
journal.reserve("run", "plan", GaussianEvent(20.0, 1.0, 100), 100, Budget(3.0, 1e-5))
print("reserved", flush=True)
for number in (1, 2):
    journal.begin("run", number, "params")
    print("begun", number, flush=True)
    payload = os.urandom(16)
    journal.release("run", number, payload)
    print("left", number, payload.hex(), flush=True)
    journal.mask("run", number, 3)
    print("masked", number, flush=True)
    journal.reveal("run", number, "all")
    print("revealed", number, flush=True)
print("done", LIMIT - left, flush=True)
"""


def test_killed_at_any_statement_spent_is_never_less_than_what_left(tmp_path: Path) -> None:
    process = child(MORTAL.replace("LIMIT", "-1"), tmp_path / "whole.sqlite")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    statements = int(output.split()[-1])
    assert statements > 40
    for limit in range(1, statements + 1):
        path = tmp_path / f"{limit}.sqlite"
        process = child(MORTAL.replace("LIMIT", str(limit)), path)
        lines = process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == -signal.SIGKILL
        _check_after_death(path, lines)


def _check_after_death(path: Path, lines: list[str]) -> None:
    journal = reopened(path)
    body = [(entry.kind, entry.body.get("round")) for entry in journal.entries()]
    assert journal.spent(1e-5) == (epsilon([PLAN], 1e-5) if ("reserve", None) in body else 0.0)
    assert "reserved" not in lines or ("reserve", None) in body
    left = [line.split()[1:] for line in lines if line.startswith("left")]
    for number, _ in left:
        assert ("begin", int(number)) in body
        assert ("release", int(number)) in body
    for line in lines:
        if line.startswith("masked"):
            with pytest.raises(PolicyViolation, match="attempt 3 at round"):
                journal.mask("run", int(line.split()[1]), 3)
    for kind, before in (("begin", "reserve"), ("release", "begin"), ("mask", "release"), ("reveal", "mask")):
        assert all(
            (before, None if before == "reserve" else number) in body for k, number in body if k == kind
        )
    released = [number for kind, number in body if kind == "release"]
    for number, payload in left:
        if int(number) == released[-1]:
            assert journal.begin("run", int(number), "params") == bytes.fromhex(payload)
    # The site starts again and finishes the rounds on the same charge.
    journal.reserve("run", "plan", PLAN, 100, BUDGET)
    for number in range(1 + len(released), 3):
        assert journal.begin("run", number, "params") is None
        journal.release("run", number, b"again")
    assert journal.spent(1e-5) == epsilon([PLAN], 1e-5)
    journal.close()


def test_after_closing_a_journal_is_one_file(path: Path, tmp_path: Path, journal: Journal) -> None:
    journal.close()
    shutil.copy(path, tmp_path / "copy.sqlite")
    copy = reopened(tmp_path / "copy.sqlite")
    assert kinds(copy) == ["genesis", "reserve"]
    copy.close()


def test_an_older_roster_and_another_of_the_same_serial_are_refused_for_good(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for _ in range(2):  # the second time around, after a restart
        with closing(Journal.open(path, site="cleveland", pool="patients")) as journal:
            journal.accept(7, "aa")
            journal.accept(7, "aa")
            for serial, root in ((6, "aa"), (7, "bb"), (0, "")):
                with pytest.raises(PolicyViolation, match="roster of serial"):
                    journal.accept(serial, root)
    with closing(Journal.open(path, site="cleveland", pool="patients")) as journal:
        journal.accept(8, "bb")
        assert [entry.kind for entry in journal.entries()] == ["genesis", "roster", "roster"]
