"""A site parts its own records, by the plan and the number of the fold, and plays a part of none like any other."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from clients.data.folds import folds_of
from clients.greeting.parts import begun_of, is_same, parted
from clients.training.work import Trainer, contribution, site_stream
from federation.model.params import initial_params
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan
from federation.round.messages import Member
from federation.round.terms import Terms
from tests.worlds import plan_of

SITES = ("ash", "birch", "cedar")
PLAN = plan_of(
    **{"noise": "distributed", "holdout": 0.0, "evaluation.epsilon": 1.0, "evaluation.folds": 3, "rounds": 2}
)
RUN = bytes(range(1, 16))


def trainer(records: int, plan: Plan = PLAN) -> Trainer:
    features = torch.rand(records, 5, generator=torch.Generator().manual_seed(3))
    data = Dataset(features, torch.zeros(records, dtype=torch.int64))
    return Trainer(build_task(plan), data, partial(site_stream, plan, "ash"))


def test_every_record_is_held_out_once_and_the_model_is_trained_on_all() -> None:
    whole = trainer(50)
    parts = [parted(whole, PLAN, RUN + bytes([fold])) for fold in range(4)]
    assert parts[0].held_out is None and len(parts[0].data) == 50
    held = [part.held_out for part in parts[1:]]
    assert sum(0 if one is None else len(one) for one in held) == 50
    assert all(
        len(part.data) == 50 - (0 if one is None else len(one))
        for part, one in zip(parts[1:], held, strict=True)
    )


@pytest.mark.parametrize("noise", ["distributed", "site", "central"])
def test_a_site_whose_records_are_all_in_one_fold_plays_every_part(noise: str) -> None:
    plan = plan_of(
        **{"noise": noise, "holdout": 0.0, "evaluation.epsilon": 1.0, "evaluation.folds": 3, "rounds": 2}
    )
    one, params = trainer(1, plan), initial_params(build_task(plan).model, 1)
    members = tuple(Member(name, 60) for name in SITES)
    for fold in range(4):
        run = RUN + bytes([fold])
        part = parted(one, plan, run)
        assert len(part.data) == (fold != folds_of(one.data, plan)[0])
        for number in range(1, 4 if fold else 3):
            terms = Terms(plan, run, number, 1, members, params.numel())
            assert contribution(terms, "ash", params, part).size == terms.length


def test_parts_are_one_run_of_a_ledger_and_a_rehearsal_has_none() -> None:
    first, model, other = RUN + b"\x01", RUN + b"\x00", bytes(15) + b"\x01"
    assert is_same(PLAN, first, PLAN, model) and not is_same(PLAN, first, PLAN, other)
    assert [begun_of(PLAN, RUN + bytes([fold]), 3) for fold in (1, 2, 3, 0)] == [3, 1, 0, 0]
    rehearsed, whole = PLAN.rehearsal(), trainer(20)
    assert parted(whole, rehearsed, first) is whole and not is_same(rehearsed, first, rehearsed, model)
    without = plan_of(noise="distributed")
    assert parted(whole, without, first) is whole and not is_same(without, first, without, model)
    assert not is_same(PLAN, first, without, first) and not is_same(PLAN, model, without, first)
