"""An account and the file that holds it: one exclusive transaction at a time, and never the two apart.

Memory follows the disk. A transaction begins by reading and verifying what others wrote; what it appends goes
through the same account, so that nothing can be written that would be refused when read. If it is not committed
the account is dropped, and made anew from the file. The last entry known to be on the disk is remembered for good:
a file that no longer holds it was cut or rewritten while in use.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from federation import chain
from privacy import ledger
from privacy.account import Account, fold
from privacy.errors import LedgerCorrupt, PolicyViolation
from privacy.ledger import Entry
from privacy.plain import JSON
from privacy.wire import digest


class Store:
    """Entries, and the newest release of each run. `append`, `keep` and `forget` within a transaction only."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self._connection = path, connection
        self._lock = threading.RLock()
        self._account: Account | None = None
        self._durable: Entry | None = None

    @classmethod
    def open(cls, path: Path) -> Store:
        """What is at `path`, all of it verified: the pages, the tables, every entry, the kept releases."""
        with chain.explained(path):
            store = cls(path, chain.connect(path))
            try:
                chain.check_file(store._connection)
                with store.transaction() as account:
                    store._check_releases(account)
            except BaseException:
                store.close()
                raise
        return store

    @property
    def account(self) -> Account:
        """As it stands within this transaction."""
        assert self._account is not None, "only within a transaction"  # noqa: S101
        return self._account

    @contextmanager
    def transaction(self) -> Iterator[Account]:
        """See what others wrote, then write everything durably, or nothing."""
        with self._lock, chain.explained(self._path):
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

    def append(self, kind: str, body: Mapping[str, JSON], key: Ed25519PrivateKey) -> None:
        """One more entry, signed by this key."""
        entry = ledger.append(self.account.tip.last, kind, body, key)
        self.account.extend((entry,))
        chain.insert(self._connection, entry)

    def entries(self) -> tuple[Entry, ...]:
        """As they stand in the file."""
        with self._lock, chain.explained(self._path):
            return chain.read(self._connection)

    def keep(self, run: str, round_number: int, payload: bytes) -> None:
        """Store the bytes of a release, in place of those of the run's last one."""
        self._connection.execute("REPLACE INTO releases VALUES (?, ?, ?)", (run, round_number, payload))

    def forget(self, run: str) -> None:
        """Let go of a run's release."""
        self._connection.execute("DELETE FROM releases WHERE run = ?", (run,))

    def kept(self, run: str, round_number: int, sealed: str) -> bytes:
        """The stored bytes of a release whose entry says `sealed`. PolicyViolation if they are no longer kept."""
        query = "SELECT payload FROM releases WHERE run = ? AND round = ?"
        row = self._connection.execute(query, (run, round_number)).fetchone()
        if row is None:
            raise PolicyViolation(
                f"round {round_number} was released and is over", hint="start the next round"
            )
        payload = row[0]
        if not isinstance(payload, bytes) or seal(payload) != sealed:
            raise LedgerCorrupt(
                "a stored release is not the one that the journal charged", hint="release nothing"
            )
        return payload

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _caught_up(self) -> Account:
        account, self._account = self._account, None
        found = chain.read(self._connection, 0 if account is None else account.tip.last.seq)
        if account is None:
            account = fold(found)
        elif found and found[0] == account.tip.last:
            account.extend(found[1:])
        else:
            raise _cut()
        if self._durable is not None and not account.holds(self._durable.seq, self._durable.hash):
            raise _cut()
        self._account, self._durable = account, account.tip.last
        return account

    def _check_releases(self, account: Account) -> None:
        for run, number in self._connection.execute("SELECT run, round FROM releases").fetchall():
            known = account.runs.get(run)
            if known is None or number not in known.released:
                raise LedgerCorrupt("a stored release belongs to no round", hint="release nothing")
            self.kept(run, number, known.released[number])


def seal(payload: bytes) -> str:
    """What an entry says of a release's bytes."""
    return digest("federation/release/1", payload).hex()


def _cut() -> LedgerCorrupt:
    return LedgerCorrupt("the journal was cut or rewritten while in use", hint="release nothing")
