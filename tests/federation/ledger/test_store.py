"""What is on the disk is not what was written, or the disk does not cooperate: nothing is released."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clients.journal.journal import Journal
from federation.ledger import durable
from federation.ledger import store as chain
from privacy.errors import LedgerCorrupt, PrivacyError, RecordsUnavailable
from tests import ROOT
from tests.clients.journal.journals import LIMITS, kinds, opened, release, reserve, statement

RESERVED = ["genesis", "budget", "reserve"]


@pytest.fixture
def closed(path: Path, journal: Journal) -> Path:
    journal.begin(
        "run", 2, "question"
    )  # first, since what is kept of a round is forgotten when a later one begins
    release(journal, 1, b"noised " * 30)
    journal.mask("run", 1, 1, suite=2)
    journal.reveal("run", 1, "all")
    journal.close()
    return path


# The file was changed.


def test_a_changed_byte_is_refused_or_changes_nothing(closed: Path, tmp_path: Path) -> None:
    """DP-32: flip any byte of the file; a byte that means nothing to SQLite means nothing to us."""
    original = closed.read_bytes()
    with closing(opened(closed)) as journal:
        expected = journal.entries()
    refused = 0
    copy = tmp_path / "copy.sqlite"
    for offset in range(0, len(original), 61):
        copy.write_bytes(original[:offset] + bytes([original[offset] ^ 0xFF]) + original[offset + 1 :])
        try:
            changed = opened(copy)
        except PrivacyError:
            refused += 1
        else:
            assert changed.entries() == expected
            assert changed.begin("run", 1, "question") == b"noised " * 30
            changed.close()
    assert refused > 40


def test_every_changed_byte_of_an_entry_is_refused(closed: Path, tmp_path: Path) -> None:
    """DP-32: within the rows themselves there is no byte that means nothing."""
    with closing(sqlite3.connect(closed)) as connection:
        rows = connection.execute("SELECT body, previous, hash, signature FROM entries").fetchall()
        connection.execute("VACUUM INTO ?", (str(tmp_path / "compact.sqlite"),))  # no bytes of moved rows
    original, copy = (tmp_path / "compact.sqlite").read_bytes(), tmp_path / "copy.sqlite"
    copy.write_bytes(original)
    opened(copy).close()
    tried = 0
    for row in rows[1:]:  # before the first there are 32 zeros, which are everywhere
        for field in row:
            needle = field.encode() if isinstance(field, str) else field
            start = original.index(needle)
            for offset in range(start, start + len(needle), 3):
                copy.write_bytes(original[:offset] + bytes([original[offset] ^ 1]) + original[offset + 1 :])
                with pytest.raises(LedgerCorrupt):
                    opened(copy)
                tried += 1
    assert tried > 400


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_file_is_refused(closed: Path, share: float) -> None:
    closed.write_bytes(closed.read_bytes()[: int(closed.stat().st_size * share)])
    with pytest.raises(PrivacyError, match=r"release nothing|nothing was released"):
        opened(closed)


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to look like one" * 100, b"", b"PK\3\4"]
)
def test_what_is_no_database_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerCorrupt):
        opened(path)
    assert path.read_bytes() == content


CHANGES = [
    "UPDATE entries SET body = replace(body, '\"rounds\":100', '\"rounds\":999') WHERE kind = 'reserve'",
    "UPDATE entries SET body = replace(body, ':3,', ':30,') WHERE kind = 'budget'",
    "UPDATE entries SET body = replace(body, '{', '{ ') WHERE kind = 'reserve'",
    "UPDATE entries SET body = 'rubbish' WHERE seq = 3",
    "UPDATE entries SET body = '[' WHERE seq = 3",
    "UPDATE entries SET body = NULL WHERE seq = 3",
    "UPDATE entries SET body = CAST(body AS BLOB) WHERE seq = 3",
    "UPDATE entries SET body = '{\"x\":1e999}' WHERE seq = 3",
    "UPDATE entries SET kind = 'genesis' WHERE seq = 3",
    "UPDATE entries SET kind = NULL WHERE seq = 3",
    "UPDATE entries SET previous = 'text' WHERE seq = 3",
    "UPDATE entries SET hash = NULL WHERE seq = 3",
    "UPDATE entries SET signature = NULL WHERE seq = 3",
    "UPDATE entries SET signature = zeroblob(64) WHERE seq = 3",
    "UPDATE entries SET signature = (SELECT signature FROM entries WHERE seq = 2) WHERE seq = 3",
    "UPDATE entries SET seq = seq + 1 WHERE seq = 7",
    "UPDATE entries SET body = replace(body, '\"attempt\":1', '\"attempt\":0') WHERE kind = 'mask'",
    "DELETE FROM entries WHERE kind = 'mask'",
    "DELETE FROM entries WHERE seq = 2",
    "DELETE FROM entries WHERE seq = 0",
    "DELETE FROM entries",
    "INSERT INTO entries SELECT seq + 9, kind, body, previous, hash, signature FROM entries WHERE seq = 5",
    "UPDATE releases SET payload = x'00'",
    "UPDATE releases SET payload = 'text'",
    "UPDATE releases SET blind = zeroblob(32)",
    "UPDATE releases SET blind = 'text'",
    "UPDATE releases SET blind = NULL",
    "UPDATE releases SET round = 2",
    "UPDATE releases SET run = 'unknown'",
    "CREATE TRIGGER quiet AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE seq = new.seq; END",
    "DROP TABLE releases",
    "DROP TABLE entries",
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_row_or_table_is_refused(closed: Path, change: str) -> None:
    """DP-32: reorder, delete, repeat, replace."""
    with closing(sqlite3.connect(closed)) as connection, connection:
        connection.execute(change)
    with pytest.raises(PrivacyError):
        opened(closed)


def test_a_row_removed_while_the_journal_is_open_is_seen_for_good(path: Path, journal: Journal) -> None:
    journal.begin("run", 1, "question")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM entries WHERE kind = 'begin'")
    for _ in range(2):
        with pytest.raises(LedgerCorrupt, match="cut or rewritten"):
            journal.begin("run", 2, "question")


@pytest.mark.parametrize(
    "change", ["body = replace(body, 'question', 'crafted')", "signature = zeroblob(64)"]
)
def test_a_last_row_changed_while_the_journal_is_open_is_seen(
    path: Path, journal: Journal, change: str
) -> None:
    journal.begin("run", 1, "question")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE entries SET {change} WHERE kind = 'begin'")  # noqa: S608
    for _ in range(2):
        with pytest.raises(LedgerCorrupt):
            journal.begin("run", 2, "question")


def test_a_row_removed_by_another_is_seen_also_after_a_failure(path: Path, journal: Journal) -> None:
    journal.begin("run", 1, "question")
    statement(journal, "PRAGMA query_only = ON")
    with pytest.raises(RecordsUnavailable):
        journal.begin("run", 2, "question")
    statement(journal, "PRAGMA query_only = OFF")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM entries WHERE kind = 'begin'")
    for _ in range(2):
        with pytest.raises(LedgerCorrupt, match="cut or rewritten"):
            journal.begin("run", 2, "question")


def test_after_closing_a_journal_is_one_file(path: Path, tmp_path: Path, journal: Journal) -> None:
    journal.close()
    shutil.copy(path, tmp_path / "copy.sqlite")
    with closing(opened(tmp_path / "copy.sqlite")) as copy:
        assert kinds(copy) == RESERVED


def reading(path: Path) -> sqlite3.Connection:
    """Another process in the middle of reading."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM entries").fetchone()
    return reader


def test_a_log_torn_anywhere_leaves_a_ledger_that_was_once_whole(
    path: Path, tmp_path: Path, journal: Journal
) -> None:
    """DP-35: whatever of the log reached the disk, it is some number of whole transactions."""
    reader = reading(path)  # so that the log is not emptied
    for number in (1, 2):
        release(journal, number, b"noised")
        journal.mask("run", number, 1, suite=2)
    journal.close_run("run", "params")
    whole, log = journal.entries(), path.with_name(f"{path.name}-wal").read_bytes()
    reader.close()
    content, found = path.read_bytes(), set[int]()
    for size in range(0, len(log) + 1, 1031):
        torn = tmp_path / f"{size}.sqlite"
        torn.write_bytes(content)
        torn.with_name(f"{torn.name}-wal").write_bytes(log[:size])
        with closing(opened(torn)) as again:
            entries = again.entries()
        assert entries == whole[: len(entries)]
        found.add(len(entries))
    assert len(found) > 5
    assert 2 not in found  # the first limit and its reservation are one transaction


# The disk does not cooperate. Tests may run as root, whom no permission stops, so SQLite is told to refuse.

ACTS: list[tuple[str, Any]] = [
    ("accept", lambda journal: journal.accept(1, "aa")),
    ("reserve", lambda journal: reserve(journal, "new", limits=[*LIMITS])),
    ("begin", lambda journal: journal.begin("run", 2, "question")),
    ("release", lambda journal: journal.release("run", 1, b"noised")),
    ("mask", lambda journal: journal.mask("run", 9, 1, suite=2)),
    ("reveal", lambda journal: journal.reveal("run", 9, "all")),
    ("close", lambda journal: journal.close_run("run", "params")),
]


@pytest.mark.parametrize(("name", "act"), ACTS, ids=[name for name, _ in ACTS])
def test_a_read_only_database_releases_nothing_and_heals(journal: Journal, name: str, act: Any) -> None:
    """DP-41: read-only; every method."""
    release(journal, 9, b"noised")
    journal.begin("run", 1, "question")
    before = kinds(journal)
    statement(journal, "PRAGMA query_only = ON")
    for _ in range(2):
        with pytest.raises(RecordsUnavailable, match="nothing was released"):
            act(journal)
    assert kinds(journal) == before
    statement(journal, "PRAGMA query_only = OFF")
    try:
        act(journal)
    except PrivacyError:
        assert name == "reserve"  # a refusal, and that on record
    assert len(kinds(journal)) == len(before) + 1


def test_a_full_disk_releases_nothing_and_heals(journal: Journal) -> None:
    """DP-41: disk full."""
    journal.begin("run", 1, "question")
    (pages,) = statement(journal, "PRAGMA page_count")
    statement(journal, f"PRAGMA max_page_count = {pages}")
    with pytest.raises(RecordsUnavailable, match="full"):
        journal.release("run", 1, bytes(1_000_000))
    statement(journal, "PRAGMA max_page_count = 100000")
    assert kinds(journal) == [*RESERVED, "begin"]
    journal.release("run", 1, bytes(1_000_000))
    assert journal.begin("run", 1, "question") == bytes(1_000_000)


# No file may grow past a size, so the write-ahead log cannot: what a full disk does, by the kernel.
FULL = """
import resource, sys
from pathlib import Path
from privacy.errors import RecordsUnavailable
from tests.clients.journal.journals import kinds, opened, reserve

path, size = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
released = []
try:
    journal = opened(path)
    reserve(journal)
    for number in range(1, 101):
        journal.begin("run", number, "question")
        journal.release("run", number, bytes(100))
        released.append(number)
        for attempt in range(1, 9):
            journal.mask("run", number, attempt, suite=2)
except RecordsUnavailable as error:
    print("unavailable:", error)
print("released", len(released))
"""


@pytest.mark.parametrize("size", [1, 4096, 10_000, 40_000, 60_000, 100_000, 200_000])
def test_a_disk_that_fills_up_in_the_kernel_releases_nothing_uncharged(path: Path, size: int) -> None:
    """DP-41: disk full, wherever it strikes: at creation, at a reservation, in a round."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(size)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "unavailable: the journal journal.sqlite cannot be used" in done.stdout
    left = int(done.stdout.split()[-1])
    assert left < 100
    assert not list(path.parent.glob("*.new*"))
    with closing(opened(path)) as journal:
        assert kinds(journal).count("release") >= left
        assert kinds(journal).count("begin") >= left
        reserve(journal)


def test_a_locked_database_releases_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DP-41: locked."""
    monkeypatch.setattr(durable, "_WAIT_SECONDS", 0.05)
    with closing(opened(path)) as journal:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(RecordsUnavailable, match="locked"):
            reserve(journal)
        holder.close()
        reserve(journal)


def test_a_folder_that_is_missing_or_in_the_way_is_said(tmp_path: Path) -> None:
    for wrong in (tmp_path / "missing" / "journal.sqlite", tmp_path):
        with pytest.raises(RecordsUnavailable):
            opened(wrong)


def test_a_read_only_folder_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DP-41: read-only."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(durable.os, "open", refuse)
    with pytest.raises(RecordsUnavailable, match="Read-only file system"):
        opened(path)
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="no permission stops root")
def test_permissions_are_said(closed: Path) -> None:
    """DP-41: read-only file, read-only folder."""
    closed.chmod(0o400)
    with closing(opened(closed)) as journal:  # SQLite reads it; what needs a charge is refused
        before = kinds(journal)
        for act in (
            lambda: journal.begin("run", 3, "question"),
            lambda: journal.release("run", 2, b"noised"),
        ):
            with pytest.raises(RecordsUnavailable, match="nothing was released"):
                act()
        assert kinds(journal) == before
    closed.chmod(0o600)
    closed.parent.chmod(0o500)
    try:
        for there in (closed, closed.with_name("new.sqlite")):
            with pytest.raises(RecordsUnavailable):
                opened(there)
    finally:
        closed.parent.chmod(0o700)


def test_what_is_committed_is_on_the_disk_before_a_method_returns(journal: Journal) -> None:
    # What a power cut would test: the write-ahead log is flushed at every commit.
    assert statement(journal, "PRAGMA synchronous") == (2,)  # FULL
    assert statement(journal, "PRAGMA journal_mode") == ("wal",)


# What a creation leaves.


def test_what_a_killed_creation_left_is_cleared_by_the_next(path: Path) -> None:
    leftovers = [path.with_name(f"{path.name}.new{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]
    for leftover in leftovers:
        leftover.write_bytes(b"half a journal")
    other = path.with_name("other.sqlite.new")
    other.write_bytes(b"of another journal")
    opened(path).close()
    assert sorted(path.parent.iterdir()) == sorted([path, other])
    for leftover in leftovers:
        leftover.write_bytes(b"half a journal")
    opened(path).close()
    assert sorted(path.parent.iterdir()) == sorted([path, other])


def test_a_journal_that_appears_meanwhile_is_never_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write: Any = durable._write

    def slow(*arguments: Any) -> None:
        write(*arguments)
        path.write_bytes(b"somebody else's")

    monkeypatch.setattr(durable, "_write", slow)
    with pytest.raises(RecordsUnavailable, match="File exists"):
        opened(path)
    assert path.read_bytes() == b"somebody else's"
    assert list(path.parent.iterdir()) == [path]


def test_a_journal_that_is_there_is_never_replaced(path: Path, journal: Journal) -> None:
    first = journal.entries()[0]
    chain.create(path, [first])
    assert kinds(journal) == RESERVED
