"""SQLite files that a crash leaves whole: created at once, flushed at every commit, with errors told apart.

A site keeps two: its journal (`federation.ledger.store`) and its registry of pools (`clients.data.populations`).
With synchronous = FULL (write-ahead log) or EXTRA (rollback journal), what a COMMIT wrote is on the disk when it
returns. With secure_delete = ON SQLite overwrites what is deleted with zeros; a write-ahead log still holds it
until `empty_log`. Copies of overwritten blocks that a file system or a disk keeps are out of reach here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from federation.files import sync_folder
from privacy.errors import PrivacyError

_Refusal = Callable[[str], PrivacyError]
ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError, OSError)  # what `refusal` tells apart
_LOGS = ("-journal", "-wal", "-shm")  # what SQLite keeps beside a file
_WAIT_SECONDS = 60.0  # for another process that calibrates while it holds the file
# The disk or its permissions are at fault, not the content.
_UNAVAILABLE = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


def needs_creation(path: Path) -> bool:
    """Whether there is no file yet, or a creation was cut short of its last step."""
    return not path.exists() or _draft(path).exists()


def create(
    path: Path, tables: Sequence[str], fill: Callable[[sqlite3.Connection], None], *, logged: bool
) -> bool:
    """Put a file with these tables and what `fill` inserts in place at once; False if the file exists already.

    So an empty file is never new, but damaged. Creations in a folder wait for each other, so a draft found here was
    left by a killed process, and is cleared away. `logged`: with a write-ahead log. OSError beside the log of a
    file that was moved away or deleted: SQLite would take it for the log of the new one.
    """
    draft = _draft(path)
    with _alone_in(path.parent):
        _clear(draft)
        try:
            is_new = not path.exists()
            if is_new:
                _refuse_leftovers(path)
                _write(draft, tables, fill, logged)
                os.link(draft, path)  # fails rather than replaces
                sync_folder(path.parent)
            return is_new
        finally:
            _clear(draft)


def connect(
    path: Path, *, mode: Literal["ro", "rw"] = "rw", synchronous: Literal["FULL", "EXTRA"] = "FULL"
) -> sqlite3.Connection:
    """Open an existing file; begin and end transactions by hand, or with `transaction`.

    `synchronous`: FULL with a write-ahead log, EXTRA with a rollback journal. Waits up to 60 seconds for a lock.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_WAIT_SECONDS,
        isolation_level=None,
        cached_statements=0,  # a statement that is kept holds what it was given, and a release can have gigabytes
        check_same_thread=False,
    )
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA temp_store = MEMORY")  # a VACUUM writes its copy nowhere else
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write everything, or nothing; no other connection writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def tables(connection: sqlite3.Connection) -> tuple[str, ...]:
    """The statements that made the tables, in the order of their names."""
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return tuple(row[0] for row in rows)


def is_whole(connection: sqlite3.Connection) -> bool:
    """Whether no page is damaged, and every index finds what is there."""
    return bool(connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",))


def empty_log(connection: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file and cut it to nothing; returns whether that succeeded.

    It never waits, and fails silently: what was committed is safe either way, and can be moved later.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * _WAIT_SECONDS)}")
    return bool(busy == 0)


def refusal(error: Exception, unavailable: _Refusal, damaged: _Refusal) -> Exception:
    """What to raise in place of one of `ERRORS`: `unavailable` for disk and permissions, `damaged` for the content.

    A closed connection is a mistake in this program, and its error is returned as it is.
    """
    if isinstance(error, sqlite3.ProgrammingError):
        return error
    if isinstance(error, OSError):
        return unavailable(error.strerror or "unknown error")
    if isinstance(error, UnicodeDecodeError):  # SQLite's own error quoted a damaged table that is not text
        return damaged("it is damaged")
    code = getattr(error, "sqlite_errorcode", None)
    return (unavailable if code is not None and code & 0xFF in _UNAVAILABLE else damaged)(str(error))


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _write(
    draft: Path, tables: Sequence[str], fill: Callable[[sqlite3.Connection], None], logged: bool
) -> None:
    """A draft that lacks nothing by itself: only the file is put in place.

    With a log from the start, what a full disk keeps SQLite from moving into the file at the end would stay in the
    log, and nobody would be told.
    """
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(connect(draft, synchronous="EXTRA")) as connection:
        with transaction(connection):
            for table in tables:
                connection.execute(table)
            fill(connection)
        if logged and connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise sqlite3.OperationalError("a write-ahead log is not possible here")


def _clear(draft: Path) -> None:
    for suffix in ("", *_LOGS):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _refuse_leftovers(path: Path) -> None:
    for suffix in _LOGS:
        if (log := path.with_name(path.name + suffix)).exists():
            raise FileExistsError(
                errno.EEXIST, f"{log.name} is of a file that is gone: put both back, or neither"
            )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # the kernel lets go of it when this process dies
        yield
    finally:
        os.close(descriptor)
