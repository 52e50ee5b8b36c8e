"""What a plan may ask to be counted in: `evaluation.bins` and `evaluation.groups`."""

from __future__ import annotations

from federation.config.schema import Mistake, nearest
from federation.config.tables import Rules
from federation.kinds.cells import CLASSES, MOST_CELLS, blocks_of
from federation.plan.columns.features import Categorical
from federation.plan.tasks import Classification


def check_cells(rules: Rules) -> None:
    """Mistake where a histogram of scores cannot be made, is not paid for, or has columns that are not declared."""
    asked = rules.evaluation
    if asked.bins is None and asked.groups is None:
        _check_length(rules, "epsilon")
        return
    key = "bins" if asked.groups is None else "groups"
    if asked.epsilon is None:
        hint = "set evaluation.epsilon, or remove it: counts of people cost epsilon"
        raise Mistake("means nothing without evaluation.epsilon", hint, ("evaluation", key))
    task = rules.task
    if isinstance(task, str) or (isinstance(task, Classification) and len(task.classes) != CLASSES):
        hint = "remove it: right answers, wrong answers and loss are published without it"
        raise Mistake("needs a table, and if of classes two", hint, ("evaluation", key))
    listed = [feature.name for feature in task.features if isinstance(feature, Categorical)]
    for name in asked.groups or ():
        if name not in listed:
            reason = f'"{name}" is no feature with listed values'
            raise Mistake(reason, nearest(name, listed), ("evaluation", "groups"))
    _check_length(rules, key)


def _check_length(rules: Rules, key: str) -> None:
    blocks = None if rules.evaluation.epsilon is None else blocks_of(rules)
    if blocks is not None and blocks.length > MOST_CELLS:
        reason = f"makes {blocks.length} sums, and {MOST_CELLS} is the most"
        raise Mistake(reason, "take fewer bins, or columns with fewer values", ("evaluation", key))
