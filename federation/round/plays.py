"""Which part of a plan with folds a run is, and under which numbers a ledger has its rounds.

A plan with K folds is played as K + 1 runs, whose ids differ in their last byte: 1 to K for the training without
that fold, with an evaluation on it, and 0 for the training of the model on all records. A ledger has one
reservation for all of them, by the id of the last: the training rounds are numbered through, those of fold 1 first,
and evaluation F is that of fold F. A rehearsal is one short training, whatever the plan says of folds.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from federation.plan.plan import Plan
from federation.round.messages import RUN_ID_BYTES

MODEL = 0
"""The training of the model, on all records."""
_FOLD = "fold-"
_NUMBERED = re.compile(rf"{_FOLD}[1-9]\d{{0,2}}", re.ASCII)


def folds_of(plan: Plan) -> int | None:
    """How many folds are played; None for a plan that is one run."""
    return None if plan.is_rehearsal else plan.evaluation.folds


def fold_name(fold: int) -> str:
    """How the folder of a fold is called, in the run folder of the model."""
    return f"{_FOLD}{fold}"


def folds_in(folder: Path) -> list[Path]:
    """The folders of folds that a run folder holds, in order of their numbers."""
    found = (path for path in folder.glob(f"{_FOLD}*") if _NUMBERED.fullmatch(path.name) and path.is_dir())
    return sorted(found, key=lambda path: int(path.name.removeprefix(_FOLD)))


def fresh_run(plan: Plan) -> bytes:
    """A new run id; of a plan with folds, that of the training of the model."""
    return os.urandom(RUN_ID_BYTES) if folds_of(plan) is None else os.urandom(RUN_ID_BYTES - 1) + b"\0"


def run_of(run: bytes, fold: int) -> bytes:
    """The run of a fold, from any run of the same plan with folds."""
    return run[:-1] + bytes([fold])


def fold_of(plan: Plan, run: bytes) -> int:
    """The fold that a run is without; MODEL where it is without none."""
    return MODEL if folds_of(plan) is None else run[-1]


def is_played(plan: Plan, run: bytes) -> bool:
    """Whether there is such a part of the plan."""
    return fold_of(plan, run) <= (folds_of(plan) or 0)


def account_name(plan: Plan, run: bytes) -> str:
    """The name under which a ledger has the training of this run."""
    return (run if folds_of(plan) is None else run_of(run, MODEL)).hex()


def rounds_before(plan: Plan, run: bytes) -> int:
    """How many training rounds a ledger numbers before the first of this run."""
    fold, folds = fold_of(plan, run), folds_of(plan) or 0
    return plan.federation.rounds * ((fold or folds + 1) - 1) if folds else 0


def rounds_of(plan: Plan, run: bytes) -> range:
    """The training rounds that the files of this run tell of, by a ledger's numbers."""
    before = rounds_before(plan, run)
    return range(before + 1, before + plan.federation.rounds + 1)


def counted_rounds(plan: Plan, run: bytes) -> range:
    """The training rounds that a report of this run counts: its own; with the model's, those of all folds."""
    is_model = folds_of(plan) is not None and fold_of(plan, run) == MODEL
    return range(1, plan.reserved[0] + 1) if is_model else rounds_of(plan, run)


def counted_tests(plan: Plan, run: bytes) -> range:
    """The same of evaluations."""
    fold = fold_of(plan, run)
    return range(fold, fold + 1) if fold else range(1, plan.reserved[1] + 1)


def has_evaluation(plan: Plan, run: bytes) -> bool:
    """Whether an evaluation follows the training of this run."""
    is_last = folds_of(plan) is not None and fold_of(plan, run) == MODEL
    return plan.figures is not None and not is_last


def last_round(plan: Plan, run: bytes) -> int:
    """The number of the last round of this run, with that of its evaluation."""
    return plan.last_round if has_evaluation(plan, run) else plan.rounds
