"""What is put in place at once is whole, whatever the disk and other programs do meanwhile."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from federation.ledger import durable

TABLES = ("CREATE TABLE words (word TEXT)",)


def fill(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO words VALUES ('kept')")


def words_of(path: Path) -> list[tuple[str]]:
    with closing(durable.connect(path)) as connection:
        return connection.execute("SELECT word FROM words").fetchall()


@pytest.mark.parametrize("logged", [True, False])
def test_a_file_put_in_place_holds_everything_although_nothing_could_be_moved_when_it_was_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, logged: bool
) -> None:
    """SQLite moves a log into its file at the end, and says nothing if it cannot: a full disk, or a reader."""
    path, draft = tmp_path / "a.sqlite", tmp_path / "a.sqlite.new"
    readers: list[sqlite3.Connection] = []

    class Read(sqlite3.Connection):
        def close(self) -> None:
            readers.append(reader := sqlite3.connect(draft, isolation_level=None))
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM sqlite_master").fetchall()
            super().close()

    with monkeypatch.context() as patch:
        opened = partial(sqlite3.connect, factory=Read)
        patch.setattr(durable, "sqlite3", SimpleNamespace(connect=opened, OperationalError=OSError))
        assert durable.create(path, TABLES, fill, logged=logged)
    for reader in readers:
        reader.close()
    assert words_of(path) == [("kept",)]


def _held(connect: Callable[[Path], sqlite3.Connection], path: Path, large: bytes) -> int:
    """Bytes that this process has more of while a connection stays open that has written something large."""
    durable.create(path, TABLES, fill, logged=True)
    with closing(connect(path)) as connection:
        before = _resident()
        connection.execute("INSERT INTO words VALUES (?)", (large,))
        return _resident() - before


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_connection_holds_no_copy_of_what_was_written(tmp_path: Path) -> None:
    """A statement that sqlite3 keeps holds the values that it was given: the control."""
    large = bytes(range(256)) * (1 << 17)
    assert _held(durable.connect, tmp_path / "ours.sqlite", large) < len(large) / 2
    assert _held(sqlite3.connect, tmp_path / "plain.sqlite", large) >= len(large) / 2
