"""What a plan with folds is played as, stated a second time: which rounds of a ledger each folder is about."""

from __future__ import annotations

from dataclasses import dataclass

from federation.plan.plan import Plan


@dataclass(frozen=True)
class Place:
    """One run among those of its plan. `account`: the name of all of them in a ledger; `fold`: 0 for the model.

    A ledger has the rounds of this run after `before` others, `rounds` in all, and `tests` evaluations. `counted`
    and `tested` are those that its report counts: its own, and for the model all.
    """

    account: str
    fold: int
    before: int
    rounds: int
    tests: int
    counted: range
    tested: range
    has_folds: bool

    @property
    def is_model(self) -> bool:
        """Whether the run ends the plan: with it a ledger closes its reservation."""
        return self.fold == 0

    @property
    def own(self) -> range:
        """The rounds of this run, by a ledger's numbers."""
        return self.counted if self.fold or not self.has_folds else self.counted[self.before :]

    @property
    def is_evaluated(self) -> bool:
        """Whether an evaluation of its own may follow it."""
        return self.fold > 0 or not self.has_folds


def place_of(plan: Plan | None, run: str) -> Place:
    """Where a run stands, by its id, of which the last two digits name the fold."""
    rounds, folds = (0, None) if plan is None else (plan.federation.rounds, plan.evaluation.folds)
    if folds is None:
        return Place(run, 0, 0, rounds, 1, range(1, rounds + 1), range(1, 2), has_folds=False)
    fold = int(run[-2:], 16) if len(run) == 32 else 0
    every, before = rounds * (folds + 1), rounds * ((fold - 1) if fold else folds)
    counted = range(before + 1, before + rounds + 1) if fold else range(1, every + 1)
    tested = range(fold, fold + 1) if fold else range(1, folds + 1)
    return Place(f"{run[:-2]}00", fold, before, every, folds, counted, tested, has_folds=True)
