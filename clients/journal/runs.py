"""The run that an entry is about: it has to be reserved and open, and its round not one that a restore ended."""

from __future__ import annotations

from privacy.errors import LedgerRefusal
from privacy.ledger.limits import Run
from privacy.ledger.state import Account


def reserved_run(account: Account, run: str) -> Run:
    """What the ledger says of a run. LedgerRefusal if it was never reserved."""
    if run not in account.runs:
        raise LedgerRefusal("this run has no reservation", hint="a site reserves a plan when it joins")
    return account.runs[run]


def with_evaluation(account: Account, run: str, evaluation: str) -> list[str]:
    """A reserved run, and the run of its evaluation if that was reserved, too."""
    reserved_run(account, run)
    return [run, evaluation] if evaluation in account.runs else [run]


def open_run(account: Account, run: str, round_number: int) -> Run:
    """A run in which this round may take place. LedgerRefusal if it is not reserved, closed, or past that round."""
    known = reserved_run(account, run)
    if known.closed is not None:
        raise LedgerRefusal("this run is closed", hint="start a new one")
    if round_number in known.over:
        raise LedgerRefusal(
            f"round {round_number} was begun before the ledger was restored", hint="start the next round"
        )
    return known
