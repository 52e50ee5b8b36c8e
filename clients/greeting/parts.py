"""Which part of a plan with folds a site takes part in, and with which of its records.

A site alone decides which records are in a fold (`clients.data.folds`): from the plan that it agreed to and the
records themselves, never from what a coordinator says beside the number of the fold.
"""

from __future__ import annotations

from dataclasses import replace

from clients.data.folds import without
from clients.training.work import Trainer
from federation.plan.plan import Plan
from federation.round.plays import account_name, fold_of, folds_of, is_played, rounds_before
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


def is_same(plan: Plan, run: bytes, other_plan: Plan, other: bytes) -> bool:
    """Whether two runs are one for a ledger: parts of one plan with folds are.

    Both plans are asked: the id of a part may be that of a run of a plan without folds, which is charged by itself.
    """
    return account_name(plan, run) == account_name(other_plan, other)
