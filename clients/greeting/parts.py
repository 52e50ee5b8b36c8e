"""Which part of a plan with folds a site takes part in, and with which of its records.

A site alone decides which records are in a fold (`clients.data.folds`): from the plan that it agreed to and the
records themselves, never from what a coordinator says beside the number of the fold.
"""

from __future__ import annotations

from dataclasses import replace

from clients.data.folds import without
from clients.training.work import Trainer
from federation.plan.plan import Plan
from federation.round.plays import MODEL, fold_of, folds_of, is_played, rounds_before, run_of
from privacy.errors import FaultyServer


def require_playable(plan: Plan, run: bytes) -> None:
    """FaultyServer for a fold that the plan lacks."""
    if not is_played(plan, run):
        raise FaultyServer("a run of a fold that the plan does not have")


def parted(trainer: Trainer, plan: Plan, run: bytes) -> Trainer:
    """The trainer of this part, from one with all records: it trains without the fold, and is evaluated on it."""
    if folds_of(plan) is None:
        return trainer
    training, kept = without(trainer.data, plan, fold_of(plan, run))
    return replace(trainer, data=training, held_out=kept)


def begun_of(plan: Plan, run: bytes, last: int) -> int:
    """The last round of this run that began, from the last of its ledger's numbers."""
    return max(0, last - rounds_before(plan, run))


def is_same(plan: Plan, one: bytes, other: bytes) -> bool:
    """Whether two runs are one for a ledger: parts of the same plan with folds are."""
    return one == other or (folds_of(plan) is not None and run_of(one, MODEL) == run_of(other, MODEL))
