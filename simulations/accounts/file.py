"""The account of all simulated sites of a run, in one file: one row for each thing that happened, in order.

A simulation plays every site in one process, which begins and dies with them. So nothing of a round is anybody's
before this process tells it: a receipt, figures, a line on the terminal. A round's row says that it is charged, to
whom, and what came of it, and is on the disk before any of that is told. A process that is killed earlier has told
nothing: the round is played anew, on fresh noise, and charged when that is done. One that is killed later finds the
result, and tells that: a second draw would be a second release.

    opened      what every site wrote first into its ledger: roster, limits, the whole plan
    roster      another roster, of a process that resumed the run
    round       a round was charged: the question, and, once there is one, the receipt of its result
    evaluation  so was the evaluation: the question, and its figures
    closed      the run is over

`cohort` are the places of those who were charged among the run's sites, 4 bytes each; NULL for all of them. Of the
results the newest state alone is kept, as a checkpoint has it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from federation.errors import CheckpointError
from federation.files import kept
from federation.ledger import durable
from privacy.errors import PrivacyError

FILE = "accounts.sqlite"
_TABLES = (
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL, cohort BLOB)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE newest (id INTEGER PRIMARY KEY CHECK (id = 0), round INTEGER NOT NULL, state BLOB NOT NULL)",
)
_AGAIN = "start again in another folder"
_MAKE_ROOM = "make room, then give the same command again: the run goes on where it was"

Places = NDArray[np.uint32]


@dataclass(frozen=True)
class Event:
    """One row. `cohort`: places of sites, None for all."""

    seq: int
    kind: str
    body: Mapping[str, Any]
    cohort: Places | None = None


class AccountFile:
    """The file at a path. Every method that writes returns when it is on the disk. One process at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    @classmethod
    def create(cls, path: Path, facts: Mapping[str, str], opened: Event) -> AccountFile:
        """A new file that begins so. CheckpointError if it cannot be written."""

        def fill(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT INTO facts VALUES (?, ?)", sorted(facts.items()))
            _put(connection, opened)

        with kept(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.create(path, _TABLES, fill, logged=True)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> AccountFile:
        """An existing file. CheckpointError if it is none of ours, or damaged."""
        try:
            connection = durable.connect(path)
            if durable.is_whole(connection) and set(durable.tables(connection)) == set(_TABLES):
                return cls(path, connection)
            connection.close()
        except durable.ERRORS as error:  # a full disk is not a damaged file
            reason = str(durable.refusal(error, _told, lambda _: PrivacyError("")))
            raise (_unusable(path, reason) if reason else _damaged(path)) from None
        raise _damaged(path)

    def facts(self) -> dict[str, str]:
        """What holds of the whole run."""
        return dict(self._connection.execute("SELECT name, value FROM facts").fetchall())

    def events(self) -> list[Event]:
        """All of them, in order."""
        rows = self._connection.execute("SELECT seq, kind, body, cohort FROM events ORDER BY seq")
        return [Event(seq, kind, json.loads(body), _places(cohort)) for seq, kind, body, cohort in rows]

    def newest(self) -> bytes | None:
        """The checkpoint after the last round with a result, None if there is none."""
        row = self._connection.execute("SELECT state FROM newest").fetchone()
        return None if row is None else bytes(row[0])

    def put(self, events: Sequence[Event], newest: tuple[int, bytes] | None = None) -> None:
        """Add these, or replace those of their numbers, and keep the newest state: all of it, or nothing."""
        try:
            with durable.transaction(self._connection):
                for event in events:
                    _put(self._connection, event)
                if newest is not None:
                    self._connection.execute("INSERT OR REPLACE INTO newest VALUES (0, ?, ?)", newest)
        except (sqlite3.DatabaseError, OSError) as error:
            reason = durable.refusal(error, _told, _told)
            raise CheckpointError(f"{self.path} cannot be written ({reason})", hint=_MAKE_ROOM) from None

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def _put(connection: sqlite3.Connection, event: Event) -> None:
    cohort = None if event.cohort is None else event.cohort.astype("<u4").tobytes()
    body = json.dumps(event.body, sort_keys=True, separators=(",", ":"))
    connection.execute(
        "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?)", (event.seq, event.kind, body, cohort)
    )


def _places(cohort: bytes | None) -> Places | None:
    return None if cohort is None else np.frombuffer(cohort, "<u4").astype(np.uint32, copy=False)


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged", hint=_AGAIN)


def _unusable(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path} cannot be used ({reason})", hint=_MAKE_ROOM)


def _told(reason: str) -> PrivacyError:
    return PrivacyError(reason)
