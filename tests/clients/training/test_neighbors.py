"""Two neighboring sites over two rounds: what a site keeps for itself moves no later release (DP-75)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from clients.training.personal import keep_only, personal_params
from clients.training.work import SiteWork, Trainer
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, Task
from federation.plan.plan import parse
from federation.round.messages import Member
from federation.round.terms import Terms
from privacy.mechanism.gaussian import FLOAT_SLACK
from privacy.mechanism.noise import Stream
from tests.clients.sites import make_data
from tests.worlds import text_of

TABLE = "\n[personal]\nsteps = 20\nlearning_rate = 0.5\n"
PLAN = parse(text_of(unit="record", noise="distributed", clipping_norm=1.0) + TABLE)
RECORDS = 40


def made() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 3), nn.Linear(3, 2))


TASK = Task("own", made, nn.CrossEntropyLoss(reduction="none"), data=lambda _: make_data(1, 0))
SHARED = 3 * 8 + 3


def neighbors() -> tuple[Dataset, Dataset]:
    """The same records, and one more that is very unlike the others."""
    data = make_data(RECORDS, seed=5)
    data = Dataset(torch.nn.functional.pad(data.features, (0, 8))[:, :8].float(), data.labels)
    stranger = Dataset(torch.full((1, 8), 100.0), torch.tensor([0]))
    more = Dataset(torch.cat([data.features, stranger.features]), torch.cat([data.labels, stranger.labels]))
    return data, more


def sent(data: Dataset, number: int, params: Tensor) -> Tensor:
    """What a site puts into the sum of a round, before noise: a function of its data and of what was released."""
    members = tuple(Member(name, RECORDS) for name in ("ash", "birch", "cedar"))
    terms = replace(Terms(PLAN, bytes(16), 1, 1, members, len(params)), round=number)
    trainer = Trainer(TASK, data, lambda _: Stream(bytes(32)))
    work = SiteWork(terms, "ash", params, trainer, Stream(bytes([number]) * 32))
    return terms.kind.clipped(terms.parties, "ash", work)  # type: ignore[attr-defined]


def test_one_record_moves_the_sum_of_either_round_by_no_more_than_the_clip() -> None:
    """Each site trains a personal model after round 1, keeps it, and takes part in round 2 all the same."""
    first, second = initial_params(made, 1), initial_params(made, 2)  # what was released, the same for both
    rounds: list[list[Tensor]] = []
    kept = []
    for data in neighbors():
        one = sent(data, 1, first)
        kept.append(personal_params(PLAN, TASK, first, data, Stream(bytes(32))))
        rounds.append([one, sent(data, 2, second)])
    assert float((kept[0] - kept[1]).norm()) > 0.1, "the kept models tell the neighbors apart"
    for here, there in zip(*rounds, strict=True):
        assert 0 < float((here - there).norm()) <= 1.0 * (1 + FLOAT_SLACK)


def test_a_head_that_is_kept_without_noise_would_move_the_next_round_by_far_more() -> None:
    """The control: why private layers between rounds are refused where records are protected."""
    first, second = initial_params(made, 1), initial_params(made, 2)
    moved = []
    for data in neighbors():
        own = personal_params(PLAN, TASK, first, data, Stream(bytes(32)))
        moved.append(sent(data, 2, torch.cat([second[:SHARED], own[SHARED:]]))[:SHARED])
    assert float((moved[0] - moved[1]).norm()) > 2.0  # one clip is 1


def test_freezing_for_a_personal_model_touches_no_other_model() -> None:
    model = made()
    keep_only(model, ["1"])
    assert Layout.of(model).names == ("1.weight", "1.bias")
    assert len(Layout.of(made()).names) == 4
