"""Lives a journal's whole life again and again, and each time is killed by SIGKILL one step later.

    python -m tests.clients.journal.mortal FOLDER

A step is a statement of SQLite or a call that changes files. Each life is a process of its own: a fork of this
one, which has imported and computed everything beforehand. It dies just before its K-th step, that is just after
the one before it, and leaves K.sqlite and K.log, what it had done and let go. Prints how many lives there were; the
last one ends by itself.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from privacy.accounting.filters import Budget
from privacy.accounting.units import Limit, Patient
from privacy.errors import BudgetExceeded
from privacy.ledger.approvals import approve
from tests.clients.journal.journals import opened
from tests.privacy.ledger.ledgers import ANNA, BERT, LIMIT, NEXT, PLAN, head

LARGER = Limit("record", Budget(6.0, 1e-5))
PATIENTS = Limit("patient", Budget(30.0, 1e-5), Patient(2, 2))
LIMITS = (LIMIT, PATIENTS)
STRICTER = Limit("record", Budget(2.0, 1e-5))
CALLS = ("open", "link", "unlink", "fsync", "rename")


def life(path: Path, say: Callable[..., None]) -> None:
    """Everything that is ever written to a journal, in two runs."""
    with closing(opened(path)) as journal:
        say("opened")
        journal.accept(1, "root")
        for run in ("one", "two"):
            journal.reserve(run, "plan", PLAN, 100, LIMITS if run == "one" else (LARGER, PATIENTS))
            say("reserved", run)
            for number in (1, 2):
                journal.begin(run, number, "question", heads=[head(number, "south" + run)])
                say("begun", run, number)
                payload = os.urandom(16)
                journal.release(run, number, payload)
                say("left", run, number, payload.hex())
                journal.mask(run, number, 3, suite=2)
                say("masked", run, number)
                journal.reveal(run, number, "all")
            journal.begin(run, 3, "question")  # and is interrupted
            say("begun", run, 3)
            if run == "one":
                proposal = journal.propose(LARGER, "agreed")
                journal.raise_budget(proposal, [approve(proposal, ANNA), approve(proposal, BERT)])
                say("raised")
                journal.rotate(NEXT)
                say("rotated")
            else:
                with suppress(BudgetExceeded):  # by a policy that is stricter than the ledger by now
                    journal.reserve("three", "plan", PLAN, 100, (STRICTER, PATIENTS))
            journal.close_run(run, "params")
            say("closed", run)


def counted(step: Callable[[], None]) -> None:
    """Have `step` called before every statement of SQLite and every call that changes files."""
    connect: Any = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(lambda _: step())
        return connection

    def before(call: Any) -> Any:
        def stepping(*arguments: Any, **options: Any) -> Any:
            step()
            return call(*arguments, **options)

        return stepping

    sqlite3.connect = traced
    for name in CALLS:
        setattr(os, name, before(getattr(os, name)))
    fcntl.flock = before(fcntl.flock)


def lives(folder: Path) -> Iterator[int]:
    """One process after another, each killed a step later; the exit status of each."""
    limit = 0
    while True:
        limit += 1
        child = os.fork()
        if child == 0:
            _die_at(limit, folder)
        yield os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _die_at(limit: int, folder: Path) -> None:
    log = os.open(folder / f"{limit}.log", os.O_CREAT | os.O_WRONLY, 0o600)
    left = limit

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        counted(step)
        life(
            folder / f"{limit}.sqlite",
            lambda *words: os.write(log, (" ".join(map(str, words)) + "\n").encode()),
        )
        code = 0
    finally:
        os._exit(code)


def main(folder: Path) -> int:
    """Until one life ends by itself."""
    life(folder / "rehearsal.sqlite", lambda *_: None)
    for number, status in enumerate(lives(folder), 1):
        if status != -signal.SIGKILL:
            print(number)  # noqa: T201
            return status
    raise AssertionError("unreachable")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
