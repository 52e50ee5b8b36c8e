"""The journal's file and the account in memory, kept in step by one exclusive transaction at a time.

Memory follows the disk. A transaction begins by reading and verifying what others wrote; what it appends goes
through the same account, so that it cannot write what a reader would refuse. If a transaction is not committed, the
account is dropped and rebuilt from the file. A `Store` remembers the last entry known to be on the disk: a file
that no longer holds it was cut or rewritten while in use.

A release is kept beside its blind, and forgotten with it. From then on its entry tells no one, the site included,
what it was, and neither the file nor its log holds it any more. If another process reads the log at that moment,
the log is emptied after a later transaction, or when the journal is opened next.

`privacy.ledger.state` says what the entries mean, and which may follow which.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation.ledger import durable
from privacy.canonical import JSON, MAX_WHOLE, canonical, parsed
from privacy.errors import LedgerCorrupt, LedgerRefusal, RecordsUnavailable
from privacy.ledger import chain as ledger
from privacy.ledger.chain import Entry
from privacy.ledger.state import Account, fold
from privacy.wire import digest

EVERY_SITE = "*"
"""The site of a ledger that is one for all sites of a large simulation: no id of a site."""

_MEMORY = Path(":memory:")
_BLIND_BYTES = 32
_ENTRIES = (
    "CREATE TABLE entries "
    "(seq INTEGER PRIMARY KEY, kind TEXT, body TEXT, previous BLOB, hash BLOB, signature BLOB)"
)
_SCHEMA = (
    _ENTRIES,
    "CREATE TABLE releases (run TEXT PRIMARY KEY, round INTEGER, blind BLOB, payload BLOB) WITHOUT ROWID",
)
_BACKUP = ("CREATE TABLE backup (format INTEGER)", _ENTRIES)  # and no place for a release
_UNBLINDED = (  # of earlier versions
    _ENTRIES,
    "CREATE TABLE releases (run TEXT PRIMARY KEY, round INTEGER, payload BLOB) WITHOUT ROWID",
)


@dataclass(frozen=True)
class Kept:
    """The bytes of a round's release, and its blind: 32 random bytes without which the commitment hides them."""

    round: int
    blind: bytes
    payload: bytes

    @classmethod
    def blinded(cls, round_number: int, payload: bytes) -> Kept:
        """These bytes under a fresh blind."""
        return cls(round_number, os.urandom(_BLIND_BYTES), payload)

    @property
    def commitment(self) -> str:
        """The digest, in hex, that stands for the bytes in an entry."""
        return digest("federation/release/2", self.blind, self.payload).hex()


class Store:
    """Entries, and the newest release of each run.

    `append`, `keep`, `forget`, `withdraw` and `kept` within a transaction only.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self._connection = path, connection
        self._lock = threading.RLock()
        self._account: Account | None = None
        self._durable: Entry | None = None
        self._withdrawn: dict[str, Kept] = {}  # by run; on the disk no more
        self._log_is_full = True  # of what another process may have forgotten before it was killed

    @classmethod
    def open(cls, path: Path) -> Store:
        """The journal at `path`, verified: the pages, the tables, every entry, the kept releases.

        LedgerCorrupt if it does not verify; RecordsUnavailable if the file cannot be used.
        """
        with explained(path):
            store = cls(path, durable.connect(path))
            try:
                check_file(store._connection)
                _renew(store._connection)
                with store.transaction() as account:
                    store._check_releases(account)
            except BaseException:
                store.close()
                raise
        return store

    @classmethod
    def in_memory(cls, first: Entry) -> Store:
        """A journal that begins so and is never in a file."""
        connection = sqlite3.connect(
            ":memory:", isolation_level=None, cached_statements=0, check_same_thread=False
        )
        for table in _SCHEMA:
            connection.execute(table)
        insert(connection, first)
        return cls(_MEMORY, connection)

    @property
    def folder(self) -> Path | None:
        """Where the file lies; None for a journal in memory."""
        return None if self._path == _MEMORY else self._path.parent

    @property
    def account(self) -> Account:
        """The account as it stands within this transaction."""
        assert self._account is not None, "only within a transaction"  # noqa: S101
        return self._account

    @contextmanager
    def transaction(self) -> Iterator[Account]:
        """Read what others wrote, then write everything durably, or nothing.

        LedgerCorrupt if the file was cut or rewritten; RecordsUnavailable if it cannot be used.
        """
        with self._lock, explained(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                account = self._caught_up()
                yield account
                self._connection.execute("COMMIT")
                self._durable = account.tip.last
            finally:
                if self._account is not None and self._account.tip.last != self._durable:
                    self._account = None
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            if self._log_is_full:
                self._log_is_full = not durable.empty_log(self._connection)

    def append(self, kind: str, body: Mapping[str, JSON], key: Ed25519PrivateKey) -> None:
        """One more entry, signed by this key."""
        entry = ledger.append(self.account.tip.last, kind, body, key)
        self.account.extend((entry,))
        insert(self._connection, entry)

    def entries(self) -> tuple[Entry, ...]:
        """All entries as they stand in the file, not verified."""
        with self._lock, explained(self._path):
            return read(self._connection)

    def keep(self, run: str, kept: Kept) -> None:
        """Store a release, in place of the run's last one."""
        self.forget(run)
        row = (run, kept.round, kept.blind, kept.payload)
        self._connection.execute("INSERT INTO releases VALUES (?, ?, ?, ?)", row)

    def forget(self, run: str, before: int = MAX_WHOLE) -> None:
        """Delete a run's release, if its round is before `before`."""
        kept = self._withdrawn.get(run)
        if kept is not None and kept.round < before:
            del self._withdrawn[run]
        query = "DELETE FROM releases WHERE run = ? AND round < ?"
        gone = self._connection.execute(query, (run, before)).rowcount
        self._log_is_full = self._log_is_full or gone > 0

    def withdraw(self, run: str) -> None:
        """Delete a run's release from the disk; this process alone still has it, until the run is closed."""
        kept = self._stored(run)
        if kept is not None:
            self.forget(run)
            self._withdrawn[run] = kept

    def kept(self, run: str, round_number: int, commitment: str) -> bytes:
        """The bytes of a release whose entry says `commitment`. LedgerRefusal if they are no longer kept."""
        kept = self._stored(run) or self._withdrawn.get(run)
        if kept is None or kept.round != round_number:
            raise LedgerRefusal(f"round {round_number} was released and is over", hint="start the next round")
        if kept.commitment != commitment:
            raise _swapped()
        return kept.payload

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _caught_up(self) -> Account:
        account, self._account = self._account, None
        found = read(self._connection, 0 if account is None else account.tip.last.seq)
        if account is None:
            account = fold(found)
        elif found and found[0] == account.tip.last:
            account.extend(found[1:])
        else:
            raise _cut()
        if self._durable is not None and not account.holds(self._durable.seq, self._durable.hash):
            raise _cut()
        self._account, self._durable = account, account.tip.last
        runs = account.runs
        self._withdrawn = {run: kept for run, kept in self._withdrawn.items() if runs[run].closed is None}
        return account

    def _stored(self, run: str) -> Kept | None:
        query = "SELECT round, blind, payload FROM releases WHERE run = ?"
        row = self._connection.execute(query, (run,)).fetchone()
        if row is None:
            return None
        number, blind, payload = row
        if not (isinstance(number, int) and isinstance(blind, bytes) and isinstance(payload, bytes)):
            raise _swapped()
        return Kept(number, blind, payload)

    def _check_releases(self, account: Account) -> None:
        for run, number in self._connection.execute("SELECT run, round FROM releases").fetchall():
            known = account.runs.get(run)
            if known is None or number not in known.released:
                raise LedgerCorrupt("a stored release belongs to no round", "history")
            self.kept(run, number, known.released[number])


def create(path: Path, entries: Sequence[Entry]) -> bool:
    """Create a journal with these entries; False if the file exists. No reader ever sees an empty one."""
    return durable.create(path, _SCHEMA, lambda connection: _fill(connection, entries), logged=True)


def journal_bytes(entries: Sequence[Entry], bodies: Sequence[str]) -> bytes:
    """The file of a journal with these entries, whose bodies have these canonical texts."""
    rows = [
        (entry.seq, entry.kind, body, entry.previous, entry.hash, entry.signature)
        for entry, body in zip(entries, bodies, strict=True)
    ]
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("BEGIN")
        for table in _SCHEMA:
            connection.execute(table)
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        return connection.serialize()


def create_backup(path: Path, entries: Sequence[Entry]) -> bool:
    """Create a file of these entries that is marked as a backup: no journal opens it. False if the file exists."""
    return durable.create(path, _BACKUP, lambda connection: _fill(connection, entries), logged=False)


def stable_entries(path: Path) -> tuple[Entry, ...]:
    """The entries of a journal that may be in use, as they were at one moment; its log is read, nothing is changed.

    LedgerCorrupt if it is no journal; LedgerRefusal if it is a backup.
    """
    with explained(path), closing(durable.connect(path)) as connection:
        connection.execute("BEGIN")
        check_file(connection)
        return read(connection)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the file system into RecordsUnavailable or LedgerCorrupt: nothing was released."""
    try:
        yield
    except durable.ERRORS as error:
        raise durable.refusal(
            error,
            lambda reason: RecordsUnavailable(
                f"the journal {path.name} cannot be used: {reason}",
                hint="nothing was released; check the disk and the permissions, then start again",
            ),
            lambda _: _damaged(path.name),
        ) from None


def insert(connection: sqlite3.Connection, entry: Entry) -> None:
    """Add one entry, within the transaction at hand."""
    row = (entry.seq, entry.kind, canonical(entry.body), entry.previous, entry.hash, entry.signature)
    connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", row)


def read(connection: sqlite3.Connection, start: int = 0) -> tuple[Entry, ...]:
    """The entries from number `start` on, as they stand; `privacy.ledger.chain` tells whether they verify."""
    rows = connection.execute("SELECT * FROM entries WHERE seq >= ? ORDER BY seq", (start,))
    return tuple(_entry(*row) for row in rows)


def check_file(connection: sqlite3.Connection, *, may_be_backup: bool = False) -> None:
    """LedgerCorrupt unless the pages are whole and the tables, and nothing but them, are ours, or were once.

    LedgerRefusal for a backup, where that will not do.
    """
    if not durable.is_whole(connection):
        raise _damaged()
    tables = durable.tables(connection)
    if tables == _BACKUP:
        if not may_be_backup:
            raise LedgerRefusal(
                "this journal is a backup, and what came after it may be missing",
                hint="move the file away, then: federation ledger restore SITE --from FILE",
            )
    elif tables not in (_SCHEMA, _UNBLINDED):
        raise _damaged()


def _fill(connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    for entry in entries:
        insert(connection, entry)


def _renew(connection: sqlite3.Connection) -> None:
    """Give the tables their present form. LedgerCorrupt if they do not have it then.

    The entries of an earlier version stand. The releases it kept are forgotten: they have no blinds. What it
    deleted before is still in free pages, which VACUUM leaves out; it comes first, so that whoever is killed in
    between finds the old form and begins again.
    """
    if durable.tables(connection) == _UNBLINDED:
        connection.execute("VACUUM")
        with durable.transaction(connection):
            if durable.tables(connection) == _UNBLINDED:  # and no other process was faster
                connection.execute("DROP TABLE releases")
                connection.execute(_SCHEMA[1])
    if durable.tables(connection) != _SCHEMA:
        raise _damaged()


def _entry(seq: int, kind: str, body: str, previous: bytes, hash_: bytes, signature: bytes) -> Entry:
    try:
        return Entry(seq, kind, parsed(body), previous, hash_, signature)
    except ValueError:
        raise LedgerCorrupt(f"entry {seq} of the journal cannot be read", "unreadable") from None


def _damaged(name: str = "the file") -> LedgerCorrupt:
    return LedgerCorrupt(f"{name} is damaged, or no journal of a site", "unreadable")


def _swapped() -> LedgerCorrupt:
    return LedgerCorrupt("a stored release is not the one that the journal charged", "history")


def _cut() -> LedgerCorrupt:
    return LedgerCorrupt("the journal was cut or rewritten while in use", "cut")
