"""The run that an entry is about: it has to be reserved and open, and its round not one that a restore ended."""

from __future__ import annotations

from privacy.accounting.units import Charge
from privacy.errors import LedgerRefusal, RunLeft
from privacy.ledger.limits import Run
from privacy.ledger.state import Account


def reserved_run(account: Account, run: str) -> Run:
    """What the ledger says of a run. LedgerRefusal if it was never reserved."""
    if run not in account.runs:
        raise LedgerRefusal("this run has no reservation", hint="a site reserves a plan when it joins")
    return account.runs[run]


def require_reservable(known: Run, plan: str, charge: Charge, rounds: int) -> None:
    """LedgerRefusal unless a run that is reserved may be reserved again: as it was, and not after its end."""
    if (known.plan, known.charge, known.rounds) != (plan, charge, rounds):
        raise LedgerRefusal("this run was reserved for another plan", hint="start it as a new run")
    if known.is_whole:
        raise LedgerRefusal("a restore of the ledger ended this run", hint="start a new one")
    require_present(known)


def require_present(known: Run) -> None:
    """RunLeft for a run that the site has left."""
    if known.is_left:
        raise RunLeft("this site has left the run", hint="it stays so: start a new run to have it back")


def with_evaluation(account: Account, run: str, evaluation: str) -> list[str]:
    """A reserved run, and the run of its evaluation if that was reserved, too."""
    reserved_run(account, run)
    return [run, evaluation] if evaluation in account.runs else [run]


def open_run(account: Account, run: str, round_number: int) -> Run:
    """A run in which this round may take place. LedgerRefusal if it is not reserved, closed, or past that round."""
    known = reserved_run(account, run)
    require_present(known)
    if known.closed is not None:
        raise LedgerRefusal("this run is closed", hint="start a new one")
    if round_number in known.over:
        raise LedgerRefusal(
            f"round {round_number} was begun before the ledger was restored", hint="start the next round"
        )
    return known
