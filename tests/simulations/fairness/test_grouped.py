"""Exact figures by group: counted by hand, and no small group is told or can be worked out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from federation.model.task import Dataset
from federation.plan.outcomes import Classes
from simulations.fairness.grouped import CLASS, FLOOR, by_group
from simulations.world import World
from tests.worlds import plan_of

PLAN = plan_of(
    {"evaluation.groups": ["ward"], "evaluation.epsilon": 2.0}, noise="distributed", metrics=["accuracy"]
)
WARDS = ("= a", "= b", "= c")


def figures(sizes: dict[int, tuple[int, int]]) -> Any:
    """Of so many negatives and positives in each ward; everybody scores .6."""
    wards = [ward for ward, of in sizes.items() for _ in range(sum(of))]
    labels = [label for of in sizes.values() for label in (0, 1) for _ in range(of[label])]
    features = torch.zeros(len(wards), 5)
    features[torch.arange(len(wards)), torch.tensor(wards, dtype=torch.int64) + 2] = 1.0
    data = Dataset(features, torch.tensor(labels, dtype=torch.int64))
    world = cast(World, SimpleNamespace(plan=PLAN, outcome=Classes(2)))
    return by_group(world, torch.tensor([[0.4, 0.6]]).expand(len(wards), 2), [data])["ward"]


def test_figures_of_a_group_are_those_of_its_records() -> None:
    found = figures({0: (10, 30), 1: (20, 20), 2: (50, 10)})
    assert [(found[ward].n, found[ward].positives) for ward in WARDS] == [(40, 30), (40, 20), (60, 10)]
    assert [found[ward].metrics["accuracy"].value for ward in WARDS] == pytest.approx([0.75, 0.5, 1 / 6])
    assert [found[ward].metrics["recall"].value for ward in WARDS] == [1.0, 1.0, 1.0]
    assert found["= a"].metrics["calibration"].value == pytest.approx(0.6 - 0.75)
    assert found["= a"].metrics["accuracy"].low < 0.75 < found["= a"].metrics["accuracy"].high


def test_a_small_group_hides_another_with_it() -> None:
    found = figures({0: (3, 3), 1: (20, 20), 2: (50, 10)})
    assert [found[ward].n for ward in WARDS] == [None, None, 60], "all less the others would be ward a"
    assert not found["= a"].metrics and not found["= b"].metrics
    few = figures({0: (200, CLASS - 1), 1: (20, 20), 2: (50, 60)})
    assert [few[ward].n for ward in WARDS] == [None, None, 110]
    empty = figures({0: (0, 0), 1: (20, 20), 2: (50, 10)})
    assert [empty[ward].n for ward in WARDS] == [0, 40, 60], "a group of nobody hides nobody"


@given(st.tuples(*[st.tuples(st.integers(0, 12), st.integers(0, 12))] * 3))
def test_what_is_hidden_is_never_one_group_nor_few_people(sizes: tuple[tuple[int, int], ...]) -> None:
    found = figures(dict(enumerate(sizes)))
    told = [at for at, ward in enumerate(WARDS) if found[ward].n is not None]
    for at in told:
        assert not sum(sizes[at]) or (sum(sizes[at]) >= FLOOR and min(sizes[at]) >= CLASS)
    hidden = [at for at in range(3) if at not in told]
    if told and any(sum(sizes[at]) for at in told) and hidden:
        assert len(hidden) > 1
        assert sum(sum(sizes[at]) for at in hidden) >= FLOOR
