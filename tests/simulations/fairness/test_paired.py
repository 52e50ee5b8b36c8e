"""Whether a site does worse than alone: both models on the same records, told apart from chance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from federation.model.task import Dataset
from federation.plan.measures import better
from federation.plan.outcomes import Classes
from federation.report.fairness.words import worse
from federation.report.figures.scores import BesideAlone, Than
from federation.report.report import Evaluation
from simulations.fairness.paired import _draws, beside_alone
from simulations.world import World
from tests.worlds import plan_of


def world_of(held: dict[str, Dataset], metric: str = "auc") -> World:
    plan = plan_of(metrics=[metric])
    return cast(World, SimpleNamespace(plan=plan, outcome=Classes(2), held_out=held))


def made(seed: int, records: int, ours: float, alone: float) -> tuple[Dataset, Tensor, Tensor]:
    """Records of which two models know so much; what makes a record hard is the same for both."""
    random = np.random.default_rng(seed)  # noqa: TID251  no noise of a release
    labels = random.integers(0, 2, records)
    shared = random.normal(0, 1, records)

    def said(knows: float) -> Tensor:
        score = 1 / (1 + np.exp(-(knows * (2 * labels - 1) + shared + random.normal(0, 0.3, records))))
        return torch.from_numpy(np.stack([1 - score, score], axis=1))

    data = Dataset(torch.zeros(records, 1), torch.from_numpy(labels))
    return data, said(ours), said(alone)


def test_a_site_that_clearly_does_worse_is_named_and_one_that_gains_is_not() -> None:
    lost, won, few = made(1, 300, 0.3, 0.8), made(2, 300, 0.8, 0.3), made(3, 12, 0.5, 0.6)
    each = {"lost": lost, "won": won, "few": few}
    found = beside_alone(
        world_of({name: one[0] for name, one in each.items()}),
        {name: one[1] for name, one in each.items()},
        {name: one[2] for name, one in each.items()},
    )
    assert found.worse == ["lost"]
    assert (found.sites["won"].low or -1) > 0
    said = worse(Evaluation(pooled={}, sites={}, beside_alone=found))
    assert said.startswith("Worse with the others than by a model of its own, by AUC: lost (-0.")
    calm = BesideAlone(metric="auc", sites={name: found.sites[name] for name in ("won", "few")})
    assert "None of the 2 sites" in worse(Evaluation(pooled={}, sites={}, beside_alone=calm))
    single = BesideAlone(metric="auc", sites={"won": found.sites["won"]})
    assert "tell does not do clearly worse" in worse(Evaluation(pooled={}, sites={}, beside_alone=single))


def test_by_chance_alone_hardly_any_site_is_accused() -> None:
    each = {f"s{at}": made(at, 80, 0.5, 0.5) for at in range(15)}
    parts = [{name: one[place] for name, one in each.items()} for place in range(3)]
    found = beside_alone(world_of(parts[0]), parts[1], parts[2])  # type: ignore[arg-type]
    assert found.worse == []
    assert all(one.high is not None for one in found.sites.values())


def test_of_records_that_tell_nothing_nothing_is_said() -> None:
    data = Dataset(torch.zeros(20, 1), torch.zeros(20, dtype=torch.int64))
    same = torch.full((20, 2), 0.5)
    found = beside_alone(world_of({"ash": data}), {"ash": same}, {"ash": same})
    assert found.sites["ash"] == Than(gain=None, low=None, high=None)
    level = beside_alone(world_of({"ash": data}, "accuracy"), {"ash": same}, {"ash": same})
    assert level.sites["ash"] == Than(gain=0.0, low=None, high=None)
    assert worse(Evaluation(pooled={}, sites={}, beside_alone=level)) == ""


def test_people_are_drawn_whole_and_the_same_ones_every_time() -> None:
    people = torch.tensor([0, 1, 1, 2, 0, 2, 2])
    for rows, again in zip(_draws(people, 20), _draws(people, 20), strict=True):
        assert torch.equal(rows, again)
        counts = torch.bincount(rows, minlength=7)
        for person in range(3):
            assert len(set(counts[people == person].tolist())) == 1
        assert int(sum(counts[[0, 1, 3]])) == 3


@pytest.mark.parametrize(
    ("name", "sign"),
    [("auc", 1), ("r2", 1), ("loss", -1), ("rmse", -1), ("brier_at_30", -1), ("mean_brier", -1)],
)
def test_it_is_known_which_figures_are_better(name: str, sign: int) -> None:
    assert better(name, 0.75, 0.5) == sign * 0.25
