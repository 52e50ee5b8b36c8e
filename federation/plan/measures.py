"""Names of the metrics that a plan may ask for, and what they need."""

from __future__ import annotations

import re
from typing import Final

from federation.config.schema import Mistake, nearest

ANSWERS: Final = ("accuracy", "balanced_accuracy", "f1", "recall", "specificity", "precision")
SCORES: Final = ("auc", "gini", "ks", "loss", "brier", "calibration")
KNOWN: Final = (*ANSWERS, *SCORES, "recall_at_10")
SIGNED: Final = ("calibration",)
"""Metrics of which neither more nor less is better, but nearer to 0."""
LESS_IS_BETTER: Final = ("loss", "brier")
_OF_ERRORS: Final = ("mae", "rmse", "deviance", "mean_brier", "calibration_by_tenth")  # of what is no class
_OF_CHANCES: Final = ("loss", "brier", "calibration")
_OF_TWO: Final = ("ks", "calibration")
_RECALL_AT: Final = re.compile(r"recall_at_[1-9][0-9]?")


def is_recall_at(name: str) -> bool:
    """Whether a name is recall among so many percent, from 1 to 99."""
    return bool(_RECALL_AT.fullmatch(name))


def better(name: str, one: float, other: float) -> float:
    """By how much one figure of this name is better than another; below 0 where it is worse.

    >>> better("auc", 0.75, 0.5), better("loss", 0.75, 0.5), better("bias", -0.25, 0.5)
    (0.25, -0.25, 0.25)
    """
    if name in (*SIGNED, "bias"):
        return abs(other) - abs(one)
    is_less = name in (*LESS_IS_BETTER, *_OF_ERRORS) or name.startswith("brier_at_")
    return other - one if is_less else one - other


def shares_of(metrics: tuple[str, ...]) -> tuple[int, ...]:
    """The percents among which recall is asked for, in the order of the plan."""
    return tuple(int(name.removeprefix("recall_at_")) for name in metrics if is_recall_at(name))


def is_known(name: str) -> bool:
    """Whether a built-in task of classes has the metric."""
    return name in KNOWN or is_recall_at(name)


def check_metrics(
    metrics: tuple[str, ...], threshold: float | None, classes: int, *, has_chances: bool = True
) -> None:
    """Mistake for a metric that is none, or needs two classes, or scores that are chances.

    And for a threshold, which needs both.
    """
    place = ("evaluation", "metrics")
    for name in metrics:
        if not is_known(name):
            raise Mistake(f'"{name}" is unknown', nearest(name, KNOWN), place)
        if classes != 2 and (name in _OF_TWO or is_recall_at(name)):
            hint = "remove it, or choose auc, brier or loss, which many classes have"
            raise Mistake(f'"{name}" needs two classes, and task.classes has {classes}', hint, place)
        if not has_chances and name in _OF_CHANCES:
            hint = "remove it, or choose auc, ks or accuracy; or remove task.loss"
            raise Mistake(f'"{name}" judges chances, and a hinge loss learns none', hint, place)
    if threshold is not None and not has_chances:
        hint = "remove it: the class with the higher score is the answer"
        raise Mistake("is of chances, and a hinge loss learns none", hint, ("evaluation", "threshold"))
    if threshold is not None and classes != 2:
        reason = f"needs two classes, and task.classes has {classes}"
        raise Mistake(
            reason, "remove it: the class with the highest score is the answer", ("evaluation", "threshold")
        )
