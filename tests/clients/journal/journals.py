"""A journal of one site, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from clients.journal.journal import Journal
from privacy.accounting.pld import epsilon
from privacy.accounting.units import Unit
from tests.privacy.ledger.ledgers import APPROVERS, KEY, LIMIT, PLAN

LIMITS = (LIMIT,)


def opened(path: Path, **changes: Any) -> Journal:
    """The journal at `path`, made if there is none."""
    usual: dict[str, Any] = {"site": "north", "pool": "cardiology", "key": KEY, "approvers": APPROVERS}
    return Journal.open(path, **{**usual, **changes})


def reserve(
    journal: Journal, run: str = "run", charge: Any = PLAN, limits: Any = LIMITS, rounds: int = 100
) -> None:
    """Reserve a plan."""
    journal.reserve(run, "plan", charge, rounds, limits)


def release(journal: Journal, number: int, payload: bytes, run: str = "run") -> None:
    """One round, up to what may leave."""
    assert journal.begin(run, number, "question") is None
    journal.release(run, number, payload)


def kinds(journal: Journal) -> list[str]:
    """What the ledger holds, in order."""
    return [entry.kind for entry in journal.entries()]


def statement(journal: Journal, text: str) -> Any:
    """Have the journal's own connection say something to SQLite; the first row of the answer."""
    return next(iter(rows(journal, text)), None)


def rows(journal: Journal, text: str) -> list[Any]:
    """The same, with all rows: the file is locked, and no other connection can look into it."""
    return journal._store._connection.execute(text).fetchall()


def fill_the_disk(journal: Journal, is_full: bool = True) -> None:
    """From now on SQLite can write no more, or can again."""
    statement(journal, f"PRAGMA query_only = {'ON' if is_full else 'OFF'}")


def spent(journal: Journal, unit: Unit = "record", delta: float | None = None) -> float:
    """Epsilon per `unit` of everything charged, at `delta`; by default the one of the unit's limit."""
    with journal._store.transaction() as account:
        if not account.terms:
            return 0.0  # nothing is charged before there is a limit
        term = account.terms.get(unit)
        deltas = [each.limit.budget.delta for each in ([term] if term else account.terms.values())]
        return epsilon(account.charged(unit), min(deltas) if delta is None else delta)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a journal is to be."""
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """A journal that has reserved a run."""
    with closing(opened(path)) as journal:
        reserve(journal)
        yield journal
