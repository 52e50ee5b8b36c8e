"""Which parts of a plan with folds a site takes part in: those that the plan has, and in simulations only."""

from __future__ import annotations

from clients.journal.journal import Journal
from federation.plan.plan import Plan
from federation.round.plays import is_played, rounds_before, run_of
from privacy.errors import FaultyServer, PolicyViolation


def require_playable(plan: Plan, run: bytes, journal: Journal) -> None:
    """PolicyViolation for folds where the ledger is of real data, FaultyServer for a fold that the plan lacks."""
    if plan.evaluation.folds is not None and (plan.is_rehearsal or not journal.is_simulated()):
        reason = "evaluation.folds: a site takes part in folds in a simulation only"
        raise PolicyViolation(reason, hint="agree on a plan without folds")
    if not is_played(plan, run):
        raise FaultyServer("a run of a fold that the plan does not have")


def begun_of(plan: Plan, run: bytes, last: int) -> int:
    """The last round of this run that began, from the last of its ledger's numbers."""
    return max(0, last - rounds_before(plan, run))


def is_same(plan: Plan, one: bytes, other: bytes) -> bool:
    """Whether two runs are one for a ledger: parts of the same plan with folds are."""
    return one == other or (plan.evaluation.folds is not None and run_of(one, 0) == run_of(other, 0))
