"""A ledger on disk (SQLite), appended durably: what a site has charged, and what it may still send.

Every method returns only after its entry is on the disk (write-ahead log, synchronous = FULL), and the order of
calls is that of the danger: `reserve` before anything, `begin` before data is read, `release` before the result
leaves, `reveal` before a sum is opened. A crash between two of them leaves budget charged and nothing sent.

Why a crash is free of charge. A round that was begun and not released has let nothing out, so it may be computed
again, with fresh noise, on the same charge. Once it is released its bytes are fixed: they are kept, and asking
again yields them; a second draw for the same charge is refused, even by two processes at once, since each call is
one exclusive transaction that first reads what others wrote.

What it cannot see: a journal that was deleted, or replaced by an older copy of itself.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from federation import chain
from privacy import ledger
from privacy.accountant import epsilon
from privacy.budget import Budget, admit
from privacy.errors import BudgetExceeded, LedgerCorrupt, PolicyViolation, ProtocolError
from privacy.events import Event
from privacy.ledger import JSON, Entry
from privacy.wire import digest


@dataclass
class _Run:
    """What the journal says of one run. Values are digests, by round."""

    plan: str
    event: Event
    rounds: int
    begun: dict[int, str] = field(default_factory=dict)
    released: dict[int, str] = field(default_factory=dict)
    masked: dict[int, int] = field(default_factory=dict)
    revealed: dict[int, str] = field(default_factory=dict)


class Journal:
    """One site's account of one pool. Safe to share among threads, and to open in several processes."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path, self._connection = path, connection
        self._lock = threading.RLock()
        self._last: Entry | None = None
        self._events: list[Event] = []
        self._runs: dict[str, _Run] = {}
        self._roster = (0, "")

    @classmethod
    def open(cls, path: Path, *, site: str, pool: str) -> Journal:
        """The journal at `path`, its whole chain verified; a new one, readable by its owner only, if there is none.

        LedgerCorrupt if the file is no journal, was changed, or belongs to another site or pool;
        JournalUnavailable if it cannot be read or written.
        """
        with chain.explained(path):
            if not path.exists():
                chain.create(path, site, pool)
            journal = cls(path, chain.connect(path))
            try:
                journal._check(site, pool)
            except BaseException:
                journal.close()
                raise
        return journal

    def entries(self) -> tuple[Entry, ...]:
        """The whole ledger, verified."""
        with self._lock, chain.explained(self._path):
            found = chain.read(self._connection, 0)
        ledger.verify(found)
        return found

    def accept(self, serial: int, root: str) -> None:
        """Record the roster that is taken part under. PolicyViolation for one older than any accepted before.

        So a site that was revoked stays revoked, whatever the server shows after a restart.
        """
        with self._transaction():
            known_serial, known_root = self._roster
            if serial < known_serial or (serial == known_serial and root != known_root):
                raise PolicyViolation(
                    f"a roster of serial {serial}, after another of serial {known_serial}",
                    hint="ask the consortium for the newest roster",
                )
            if (serial, root) != self._roster:
                self._append("roster", {"serial": serial, "root": root})

    def reserve(self, run: str, plan_digest: str, event: Event, rounds: int, budget: Budget) -> None:
        """Charge a whole plan: `event` is all of it. The same again is free; BudgetExceeded is written down."""
        refusal = None
        with self._transaction():
            known = self._runs.get(run)
            if known is not None:
                if (known.plan, known.event, known.rounds) != (plan_digest, event, rounds):
                    raise PolicyViolation(
                        "this run was reserved for another plan", hint="start it as a new run"
                    )
                return
            body: dict[str, JSON] = {"run": run, "plan": plan_digest, "event": event.to_json()}
            try:
                admit(self._events, event, budget)
                self._append("reserve", {**body, "rounds": rounds})
            except BudgetExceeded as error:
                refusal = error
                self._append("refuse", body)
        if refusal is not None:
            raise refusal

    def begin(self, run: str, round_number: int, params_digest: str) -> bytes | None:
        """Permission to read data for a round: None, or the bytes already released for this very request.

        BudgetExceeded past the reserved rounds; PolicyViolation for a run without reservation, for other params in
        a round that was begun, and for a released round whose bytes are no longer kept.
        """
        with self._transaction():
            known = self._reserved(run)
            if round_number < 1:
                raise PolicyViolation("rounds are counted from 1")
            if round_number > known.rounds:
                raise BudgetExceeded(f"round {round_number} of a run that reserved {known.rounds} rounds")
            if round_number not in known.begun:
                self._append("begin", {"run": run, "round": round_number, "params": params_digest})
                return None
            if known.begun[round_number] != params_digest:
                raise PolicyViolation(
                    f"round {round_number} was begun with other params", hint="start the next round"
                )
            if round_number not in known.released:
                return None
            return self._kept(run, round_number, known.released[round_number])

    def release(self, run: str, round_number: int, payload: bytes) -> None:
        """Fix the noised bytes of a begun round before they leave. Replaces those kept for the run's last round.

        PolicyViolation if the round was not begun, or was released with other bytes.
        """
        sealed = digest("federation/release/1", payload).hex()
        with self._transaction():
            known = self._reserved(run)
            if round_number not in known.begun:
                raise PolicyViolation(f"round {round_number} was not begun")
            if round_number in known.released:
                if known.released[round_number] != sealed:
                    raise PolicyViolation(f"round {round_number} was released before, with other noise")
                return
            self._append("release", {"run": run, "round": round_number, "payload": sealed})
            self._connection.execute("REPLACE INTO releases VALUES (?, ?, ?)", (run, round_number, payload))

    def mask(self, run: str, round_number: int, attempt: int) -> None:
        """Record that a released round is about to be masked. PolicyViolation unless `attempt` is a new highest.

        Keys live in memory only. A process that was killed cannot know whether masked bytes of an attempt have
        left, so it takes part in no attempt up to the one on record.
        """
        with self._transaction():
            known = self._reserved(run)
            if round_number not in known.released:
                raise PolicyViolation(f"round {round_number} was not released by this site")
            if attempt <= known.masked.get(round_number, 0):
                raise PolicyViolation(
                    f"attempt {attempt} at round {round_number} is over", hint="begin another"
                )
            self._append("mask", {"run": run, "round": round_number, "attempt": attempt})

    def reveal(self, run: str, round_number: int, survivors_digest: str) -> None:
        """Record whose sum is about to be opened. ProtocolError for a second set of sites in one round.

        The difference of two sums over the same releases would bare the sites that only one of them holds.
        """
        with self._transaction():
            known = self._reserved(run)
            if round_number not in known.released:
                raise ProtocolError(f"round {round_number} was not released by this site")
            if round_number not in known.revealed:
                body: dict[str, JSON] = {"run": run, "round": round_number, "survivors": survivors_digest}
                self._append("reveal", body)
            elif known.revealed[round_number] != survivors_digest:
                raise ProtocolError(f"round {round_number} was opened for other survivors")

    def spent(self, delta: float) -> float:
        """Epsilon at `delta` of everything ever reserved."""
        with self._transaction():
            return epsilon(self._events, delta)

    def rounds_begun(self, run: str) -> int:
        """How many rounds of a run were begun; 0 for an unknown run."""
        with self._transaction():
            return len(self._runs[run].begun) if run in self._runs else 0

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One exclusive transaction: see what others wrote, then write at most one entry, durably or not at all."""
        with self._lock, chain.explained(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._catch_up()
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _append(self, kind: str, body: dict[str, JSON]) -> None:
        # Memory follows the disk, never the reverse: the next transaction reads this entry back.
        chain.insert(self._connection, ledger.append(self._last, kind, body))

    def _catch_up(self) -> None:
        """Read and verify what was appended since; LedgerCorrupt if the entry last seen is no longer there."""
        found = chain.read(self._connection, 0 if self._last is None else self._last.seq)
        if self._last is not None:
            if not found or found[0] != self._last:
                raise LedgerCorrupt("the journal was cut or rewritten while in use", hint="release nothing")
            found = found[1:]
        ledger.follow(self._last, found)
        for entry in found:
            self._apply(entry)
            self._last = entry

    def _apply(self, entry: Entry) -> None:
        body = entry.body
        match entry.kind, body:
            case "roster", {"serial": int(serial), "root": str(root)}:
                self._roster = serial, root
            case "reserve", {"run": str(run), "plan": str(plan), "rounds": int(rounds)}:
                event = ledger.reserved(entry)
                self._events.append(event)
                self._runs[run] = _Run(plan, event, rounds)
            case "begin", {"run": str(run), "round": int(number), "params": str(params)} if run in self._runs:
                self._runs[run].begun[number] = params
            case "release", {"run": str(run), "round": int(number), "payload": str(sealed)} if (
                run in self._runs
            ):
                self._runs[run].released[number] = sealed
            case "mask", {"run": str(run), "round": int(number), "attempt": int(attempt)} if (
                run in self._runs
            ):
                self._runs[run].masked[number] = attempt
            case "reveal", {"run": str(run), "round": int(number), "survivors": str(who)} if (
                run in self._runs
            ):
                self._runs[run].revealed[number] = who
            case (("genesis" | "refuse"), _):
                pass
            case _:
                raise LedgerCorrupt(
                    f"entry {entry.seq} of the journal is not one of ours", hint="release nothing"
                )

    def _reserved(self, run: str) -> _Run:
        if run not in self._runs:
            raise PolicyViolation("this run has no reservation", hint="a site reserves a plan when it joins")
        return self._runs[run]

    def _kept(self, run: str, round_number: int, sealed: str) -> bytes:
        query = "SELECT payload FROM releases WHERE run = ? AND round = ?"
        row = self._connection.execute(query, (run, round_number)).fetchone()
        if row is None:
            raise PolicyViolation(
                f"round {round_number} was released and is over", hint="start the next round"
            )
        payload = row[0]
        if not isinstance(payload, bytes) or digest("federation/release/1", payload).hex() != sealed:
            raise LedgerCorrupt(
                "a stored release is not the one that the journal charged", hint="release nothing"
            )
        return payload

    def _check(self, site: str, pool: str) -> None:
        """Verify everything: the pages, the tables, the chain, the owner, the kept releases."""
        chain.check_file(self._connection)
        with self._transaction():
            if self._last is None:
                raise LedgerCorrupt("the journal has no entries", hint="release nothing")
            if chain.read(self._connection, 0)[0].body != {"site": site, "pool": pool}:
                raise LedgerCorrupt("the journal belongs to another site or pool", hint="check site.toml")
            for run, number in self._connection.execute("SELECT run, round FROM releases").fetchall():
                self._kept(run, number, self._reserved(run).released.get(number, ""))
