"""What a journal answers without writing anything: limits, runs, what was spent, what others showed."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

from clients.journal.runs import require_present, reserved_run
from federation.ledger.store import Store
from privacy.accounting.units import Charge, Limit, Unit
from privacy.ledger.chain import Entry
from privacy.ledger.heads import Head


class Questions:
    """The part of a journal that only reads. Each answer is that of one moment."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def folder(self) -> Path | None:
        """Where the journal lies; None if that is in memory."""
        return self._store.folder

    def tag(self) -> bytes:
        """By which others tell this ledger from the site's others."""
        with self._store.transaction() as account:
            return account.tip.genesis.ledger

    def require_approved(self, run: str, plan_digest: str, most: int | None) -> None:
        """LedgerRefusal for a run of a plan beyond the `most` that are approved. Nothing is written."""
        with self._store.transaction() as account:
            account.require_approved(run, plan_digest, most)

    def is_open(self, run: str) -> bool:
        """Whether a run is reserved and not closed."""
        with self._store.transaction() as account:
            return run in account.runs and account.runs[run].closed is None

    def last_begun(self, run: str) -> int:
        """The highest round of a run that was begun, 0 for none."""
        with self._store.transaction() as account:
            return max(account.runs[run].begun, default=0) if run in account.runs else 0

    def limits(self) -> Mapping[Unit, Limit]:
        """The limits on record, by unit."""
        with self._store.transaction() as account:
            return {unit: term.limit for unit, term in account.terms.items()}

    def spent(self) -> Mapping[Unit, float]:
        """Epsilon of everything charged, for each unit that has a limit."""
        with self._store.transaction() as account:
            return {unit: account.epsilon(unit) for unit in account.terms}

    def rounds_begun(self, run: str) -> int:
        """How many rounds of a run were begun; 0 for an unknown run."""
        with self._store.transaction() as account:
            return len(account.runs[run].begun) if run in account.runs else 0

    def last_withdrawn(self) -> Entry | None:
        """The last release that says whose records were left out."""
        with self._store.transaction() as account:
            return account.withdrawn.last

    def begun_in(self, run: str, rounds: Container[int]) -> int:
        """How many of these rounds of a run were begun."""
        with self._store.transaction() as account:
            begun = account.runs[run].begun if run in account.runs else {}
            return sum(number in rounds for number in begun)

    def witnessed(self) -> tuple[Head, ...]:
        """The newest head on record of every peer's ledger."""
        with self._store.transaction() as account:
            return tuple(account.witnessed.values())

    def reach(self) -> tuple[bytes, int, int]:
        """The hash of the first entry, the number of the last restore (0 without one), that of the last entry."""
        with self._store.transaction() as account:
            restored = account.gaps[-1].next if account.gaps else 0
            return account.tip.first.hash, restored, account.tip.last.seq

    def charged(self, *runs: str) -> tuple[Charge, ...]:
        """What is charged now for each of these runs; nothing for one that is unknown."""
        with self._store.transaction() as account:
            known = (account.runs[run].charged for run in runs if run in account.runs)
            return tuple(charge for charge in known if charge is not None)

    def require_present(self, run: str) -> None:
        """RunLeft if the site has left this run, LedgerRefusal if it never was in it."""
        with self._store.transaction() as account:
            require_present(reserved_run(account, run))
