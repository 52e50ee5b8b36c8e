"""How often a plan with folds trains and evaluates, and how much of that one unit is charged.

A plan with K folds is played K + 1 times: once without each fold, with an evaluation on that fold, and once on all
records. Where the fold of a unit follows from this unit alone, the unit is in one fold: in the training without
each of the K - 1 others, in the last training and in one evaluation. So it is charged K trainings and one
evaluation (`clients.data.folds`). Where that cannot be told from the plan it is charged all: K + 1 trainings,
K evaluations.
"""

from __future__ import annotations

from typing import Any

from federation.config.schema import Mistake
from federation.config.tables import Rules


def plays(rules: Rules) -> int:
    """How many trainings are played: with K folds K + 1."""
    return 1 if rules.evaluation.folds is None else rules.evaluation.folds + 1


def tests(rules: Rules) -> int:
    """How many evaluations are played, if any is published."""
    return rules.evaluation.folds or 1


def trainings(rules: Rules) -> int:
    """How many of the trainings one unit that the plan protects is charged."""
    return plays(rules) - is_in_one(rules)


def evaluations(rules: Rules) -> int:
    """How many of the evaluations one such unit is charged."""
    return 1 if is_in_one(rules) else tests(rules)


def is_in_one(rules: Rules) -> bool:
    """Whether the plan shows that a unit that it protects is in one fold, whatever else a site brings.

    A record in a table where no patients are named, by its content; a patient of a table, by the id. What the code
    of a task makes of a file tells nobody what it is made from.
    """
    if rules.evaluation.folds is None or isinstance(rules.task, str):
        return False
    return rules.privacy.unit == ("record" if rules.task.patient is None else "patient")


def check_folds(rules: Rules) -> None:
    """Refuse folds of which no figures are published, and a part that is held out beside them."""
    if rules.evaluation.folds is None:
        return
    place = ("evaluation", "folds")
    if rules.evaluation.epsilon is None:
        hint = "set it to what one evaluation may cost; or simulate: federation simulate PLAN --folds 5"
        raise Mistake("publish nothing without evaluation.epsilon", hint, place)
    if rules.evaluation.holdout:
        hint = "set evaluation.holdout = 0: every record is held out once"
        raise Mistake("cannot stand beside a part that is held out", hint, place)


def folds_facts(rules: Rules) -> dict[str, Any]:
    """How often a plan with folds trains and evaluates, and how much of that one unit is charged; else nothing."""
    if rules.evaluation.folds is None:
        return {}
    facts = {"trainings": plays(rules), "evaluations": tests(rules)}
    charged = {"trainings_charged": trainings(rules), "evaluations_charged": evaluations(rules)}
    return {"folds": {"folds": rules.evaluation.folds, **facts, **charged}}
