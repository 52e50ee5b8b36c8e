"""Exact figures by group, for a simulation, where small groups are not told.

A report may be shown to people who may not see the records. So a group is not told where it has fewer than FLOOR
records, or fewer than CLASS of either class; and as a group that is hidden alone is all of them less the others,
the next smallest of its column is hidden with it, until what is hidden is FLOOR records or more, in two groups.
A published histogram needs no second hiding: whatever is worked out from its noised cells costs no privacy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from clients.training.evaluating.counted import groups_of
from federation.model.task import Dataset
from federation.plan.outcomes import Classes
from federation.plan.tabular import TabularTask
from federation.report.figures.scores import GroupFigures
from federation.report.parts import Ranged
from simulations.outcomes.judging import Judge, judge_of
from simulations.scoring.metrics import estimates
from simulations.world import World

FLOOR, CLASS = 10, 5
_ALWAYS = ("recall", "specificity", "calibration")  # what gaps are of
ByGroup = Mapping[str, Mapping[str, GroupFigures]]


def by_group(world: World, said: Tensor, held: Sequence[Dataset]) -> ByGroup:
    """The figures of what a model said of records, by each column that the plan names."""
    task, asked = world.plan.task, world.plan.evaluation.groups
    if not asked or not isinstance(task, TabularTask):
        return {}
    judge, found = judge_of(world.outcome), {}
    data = Dataset(torch.cat([one.features for one in held]), torch.cat([one.labels for one in held]))
    for column in asked:
        parts = next([str(part) for part in one.parts] for one in task.features if one.name == column)
        places = groups_of(task, column, data)
        rows = [torch.nonzero(places == place)[:, 0] for place in range(len(parts))]
        labels = [data.labels[mine] for mine in rows]
        hidden = _hidden(labels, isinstance(world.outcome, Classes))
        found[column] = {
            name: _HIDDEN if at in hidden else _figures(world, judge, said[rows[at]], labels[at])
            for at, name in enumerate(parts)
        }
    return found


_HIDDEN = GroupFigures(n=None, positives=None, metrics={})


def _hidden(labels: Sequence[Tensor], is_classes: bool) -> set[int]:
    """The places of the groups that are not told. One without any record hides nobody."""
    sizes = [len(mine) for mine in labels]
    few = {
        at
        for at, mine in enumerate(labels)
        if 0 < len(mine) < FLOOR or (is_classes and len(mine) and not _has_both(mine))
    }
    for at in sorted(range(len(sizes)), key=lambda one: sizes[one]):
        if few and (len(few) < 2 or sum(sizes[one] for one in few) < FLOOR) and sizes[at]:
            few.add(at)
    return few


def _has_both(labels: Tensor) -> bool:
    positive = int((labels == 1).sum())
    return min(positive, len(labels) - positive) >= CLASS


def _figures(world: World, judge: Judge, said: Tensor, labels: Tensor) -> GroupFigures:
    """Of two classes with intervals; of other outcomes the figures that the plan asks for."""
    counts, rules = judge.counts(labels), world.plan.evaluation
    metrics: dict[str, Ranged | None]
    if isinstance(world.outcome, Classes):
        names = (*rules.metrics, *(name for name in _ALWAYS if name not in rules.metrics))
        known = estimates(said, labels, names, rules.threshold)
        metrics = {
            name: None if one is None else Ranged(value=one.value, low=one.low, high=one.high)
            for name, one in ((name, known[name]) for name in names)
        }
    else:
        values = judge.measured(said, labels, rules.metrics, rules.threshold)
        metrics = {
            name: None if value is None else Ranged(value=value, low=None, high=None)
            for name, value in values.items()
        }
    return GroupFigures(n=counts["n"], positives=counts["positives"], metrics=metrics)
