"""A ledger's entries in a SQLite file: created whole, appended durably, read back.

Only what concerns the file: its tables, its durability and its errors. What the entries mean, and which may follow
which, is the business of `privacy.ledger.state`. Write-ahead log with synchronous = FULL: when COMMIT returns, the
entries are on the disk. With secure_delete = ON what is deleted is overwritten with zeros; the log still holds it
until `empty_log`. What a file system or a disk keeps of overwritten blocks is out of reach here.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from privacy.canonical import canonical, parsed
from privacy.errors import LedgerCorrupt, RecordsUnavailable
from privacy.ledger.chain import Entry

_ENTRIES = (
    "CREATE TABLE entries "
    "(seq INTEGER PRIMARY KEY, kind TEXT, body TEXT, previous BLOB, hash BLOB, signature BLOB)"
)
_SCHEMA = (
    _ENTRIES,
    "CREATE TABLE releases (run TEXT PRIMARY KEY, round INTEGER, blind BLOB, payload BLOB) WITHOUT ROWID",
)
_UNBLINDED = (  # of earlier versions
    _ENTRIES,
    "CREATE TABLE releases (run TEXT PRIMARY KEY, round INTEGER, payload BLOB) WITHOUT ROWID",
)
_WAIT_SECONDS = 60.0  # for another process that calibrates while it holds the journal
# The disk or its permissions are at fault, not the ledger's content.
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
    """Whether there is no journal yet, or a creation was cut short of its last step."""
    return not path.exists() or _draft(path).exists()


def create(path: Path, genesis: Entry) -> None:
    """A journal with its genesis, put in place at once unless there is one: nobody ever sees an empty one.

    So an empty file is not a new journal but a damaged one, and starts no new budget. Creations in a folder wait
    for each other, so the draft found here is what a killed process left, and is cleared away.
    """
    draft = _draft(path)
    with _alone_in(path.parent):
        _clear(draft)
        try:
            if not path.exists():
                _write(draft, genesis)
                os.link(draft, path)  # fails rather than replaces
                _sync(path.parent)
        finally:
            _clear(draft)


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _write(draft: Path, genesis: Entry) -> None:
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with closing(connect(draft)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        for table in _SCHEMA:
            connection.execute(table)
        insert(connection, genesis)
        connection.execute("COMMIT")


def _clear(draft: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # the kernel lets go of it when this process dies
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect(path: Path) -> sqlite3.Connection:
    """An existing file, opened for reading and writing; transactions are begun and ended by hand."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=_WAIT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA temp_store = MEMORY")  # a VACUUM writes its copy nowhere else
    return connection


def empty_log(connection: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file and cut it to nothing; whether that could be done at this moment.

    It waits for nobody, and fails silently: what was committed is safe either way, and can be moved later.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * _WAIT_SECONDS)}")
    return bool(busy == 0)


def insert(connection: sqlite3.Connection, entry: Entry) -> None:
    """Add one entry, within the transaction at hand."""
    row = (entry.seq, entry.kind, canonical(entry.body), entry.previous, entry.hash, entry.signature)
    connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", row)


def read(connection: sqlite3.Connection, start: int = 0) -> tuple[Entry, ...]:
    """The entries from number `start` on, as they stand; `privacy.ledger.chain` tells whether they verify."""
    rows = connection.execute("SELECT * FROM entries WHERE seq >= ? ORDER BY seq", (start,))
    return tuple(_entry(*row) for row in rows)


def check_file(connection: sqlite3.Connection) -> None:
    """LedgerCorrupt unless the pages are whole and the tables, and nothing but them, are ours, or were once."""
    pages = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if pages != ("ok",) or _tables(connection) not in (_SCHEMA, _UNBLINDED):
        raise _damaged()


def renew(connection: sqlite3.Connection) -> None:
    """Give the tables their present form. LedgerCorrupt if they do not have it then.

    The entries of an earlier version stand. The releases it kept are forgotten: they have no blinds. What it
    deleted before is still in free pages, which VACUUM leaves out; it comes first, so that whoever is killed in
    between finds the old form and begins again.
    """
    if _tables(connection) == _UNBLINDED:
        connection.execute("VACUUM")
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _tables(connection) == _UNBLINDED:  # and no other process was faster
                connection.execute("DROP TABLE releases")
                connection.execute(_SCHEMA[1])
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    if _tables(connection) != _SCHEMA:
        raise _damaged()


def _tables(connection: sqlite3.Connection) -> tuple[str, ...]:
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return tuple(row[0] for row in rows)


def _damaged(name: str = "the file") -> LedgerCorrupt:
    return LedgerCorrupt(f"{name} is damaged, or no journal of a site", "unreadable")


def _entry(seq: int, kind: str, body: str, previous: bytes, hash_: bytes, signature: bytes) -> Entry:
    try:
        return Entry(seq, kind, parsed(body), previous, hash_, signature)
    except ValueError:
        raise LedgerCorrupt(f"entry {seq} of the journal cannot be read", "unreadable") from None


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the file system as refusals: whatever happened, nothing was released."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a closed journal, say: a mistake in this program
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _UNAVAILABLE:
            raise _unavailable(path, str(error)) from None
        raise _damaged(path.name) from None
    except UnicodeDecodeError:  # SQLite quotes, in its own error, a damaged table that is no text
        raise _damaged(path.name) from None
    except OSError as error:
        raise _unavailable(path, error.strerror or "unknown error") from None


def _unavailable(path: Path, reason: str) -> RecordsUnavailable:
    return RecordsUnavailable(
        f"the journal {path.name} cannot be used: {reason}",
        hint="nothing was released; check the disk and the permissions, then start again",
    )
