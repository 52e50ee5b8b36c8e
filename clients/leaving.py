"""Leaving a run on purpose: what stays charged, what is given back, and that it is for good.

The ledger closes the run under the word "left". Whatever process is the site reads that before it answers: an
invitation, a greeting or an end of this run is then refused with the one reason that says so. Rounds that were
begun stay charged, whether anything of them was opened or not; those that never began are returned, unless a limit
admitted the plan as a whole only (`privacy.ledger.limits`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.approvals import SHORTEST, open_journal
from clients.policy import load_site
from federation.errors import InputError, UnusableFile
from federation.ledger.export import load_entries
from federation.round.terms import evaluation_run
from privacy.accounting.units import Unit
from privacy.canonical import finite
from privacy.errors import LedgerRefusal
from privacy.ledger.limits import LEFT
from privacy.ledger.state import Account, fold


@dataclass(frozen=True)
class Leaving:
    """What leaving a run means for a ledger. Epsilon of everything charged, per unit with a limit."""

    site: str
    run: str
    rounds: int
    begun: int
    is_whole: bool  # the whole plan stays charged, begun or not
    before: Mapping[Unit, float]
    after: Mapping[Unit, float]

    @property
    def returned(self) -> int:
        """How many rounds are given back."""
        return 0 if self.is_whole else self.rounds - self.begun

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "site": self.site,
            "run": self.run,
            "rounds": self.rounds,
            "rounds_begun": self.begun,
            "rounds_returned": self.returned,
            "units": {
                unit: {"epsilon_before": finite(self.before[unit]), "epsilon_after": finite(self.after[unit])}
                for unit in self.before
            },
        }


def about(path: Path, run: str) -> Leaving:
    """What it would mean to leave a run of the site at `path`: `run` is its id, or how that begins.

    Nothing is written. LedgerRefusal for a run that the ledger does not hold, or that is over already.
    """
    rules = load_site(path)
    if not rules.journal.exists():
        raise UnusableFile(
            "there is no journal yet", hint="a site makes it when it joins", path=rules.journal
        )
    account = fold(load_entries(rules.journal, may_be_backup=False))
    name = _named(account, run)
    before = {unit: account.epsilon(unit) for unit in account.terms}
    begun, rounds = len(account.runs[name].begun), account.runs[name].rounds
    for part in (name, evaluation_run(name)):
        if part in account.runs and account.runs[part].closed is None:
            account.runs[part].closed = LEFT  # in this copy alone
    is_whole = account.runs[name].charged == account.runs[name].charge and begun < rounds
    after = {unit: account.epsilon(unit) for unit in account.terms}
    return Leaving(rules.id, name, rounds, begun, is_whole, before, after)


def leave(path: Path, leaving: Leaving) -> None:
    """Leave the run, from this moment on and for good; the site may be running."""
    with closing(open_journal(load_site(path))) as journal:
        journal.require_present(leaving.run)
        journal.abandon_run(leaving.run, LEFT, evaluation_run(leaving.run))


def _named(account: Account, run: str) -> str:
    """The id of a run that is open."""
    known = [name for name in account.runs if name.startswith(run) and "/" not in name]
    if run not in account.runs and (len(known) != 1 or len(run) < SHORTEST):
        raise InputError(
            f"the ledger has {'no run' if not known else 'more than one run'} that begins with {run[:64]!r}",
            hint="federation ledger show SITE names them; a site cannot leave what it has not joined",
        )
    name = run if run in account.runs else known[0]
    closed = account.runs[name].closed
    if closed is not None:
        how = "left already" if account.runs[name].is_left else "over"
        raise LedgerRefusal(f"run {name} is {how}", hint="federation ledger show SITE tells what it cost")
    return name
