"""Two neighboring sites over two rounds: what a site keeps for itself moves no later release (DP-75, DP-85)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from clients.training.own import Own
from clients.training.personal import keep_only, personal_params
from clients.training.work import SiteWork, Trainer
from federation.model.base import Kept
from federation.model.own import begun_own
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, Task
from federation.plan.plan import Plan, parse
from federation.round.messages import Member
from federation.round.sent import joined
from federation.round.terms import Terms
from privacy.errors import UnsafeParameters
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


KEPT = '\n[personal]\nsteps = 20\nlearning_rate = 0.5\nlayers = ["1"]\nkept = 8\n'
STEPS = {"training.local_steps": 3, "training.learning_rate": 2.0, "server.optimizer": "average"}
CLIP = 1.0


def keeping(**privacy: object) -> tuple[Plan, Task]:
    """A plan whose second layer stays at the sites, and its task."""
    claim = {"epsilon": 8.0, "delta": 1e-5, "clipping_norm": CLIP, **privacy}
    plan = parse(text_of({**STEPS, **claim}) + KEPT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return plan, replace(TASK, model=Kept(made, 7, made(), ("1",)))


def at(plan: Plan, number: int) -> Terms:
    members = tuple(Member(name, RECORDS) for name in ("ash", "birch", "cedar"))
    return Terms(plan, bytes(16), number, 1, members, SHARED)


def summed(
    plan: Plan, task: Task, number: int, params: Tensor, sites: Mapping[str, Dataset], left: dict[str, Own]
) -> Tensor:
    """The sum of a round before noise. `left`: what each site kept, which the round moves on."""
    terms, total = at(plan, number), torch.zeros(0)
    for name, data in sites.items():
        own = Own(begun_own(task.model) if (known := left.get(name)) is None else known.after)  # type: ignore[arg-type]
        stream = Stream(bytes([number, *name.encode()[:1]]).ljust(32, b"."))
        trainer = Trainer(task, data, lambda _: stream, own=own)  # noqa: B023 - used at once
        work = SiteWork(terms, name, params, trainer, stream)
        vector = terms.kind.clipped(terms.parties, name, work)  # type: ignore[attr-defined]
        total, left[name] = (total + vector if len(total) else vector), own
    return total


@pytest.mark.parametrize("noise", ["distributed", "central", "site"])
@pytest.mark.parametrize("moves", [False, True])
def test_with_or_without_a_site_the_sum_of_either_round_moves_by_no_more_than_one_clip(
    noise: str, moves: bool
) -> None:
    """Unit client: whatever it keeps, a site adds one clipped vector, and no other site's moves."""
    adapts: dict[str, object] = {
        "privacy.clipping_quantile": 0.5,
        "privacy.clipping_bounds": [0.1, 10.0],
        "privacy.clipping_rate": 0.2,
        "privacy.clipping_noise": 0.9,
    }
    plan, task = keeping(unit="client", noise=noise, **(adapts if moves else {}))
    data, wild = make_data(RECORDS, 5), Dataset(torch.full((RECORDS, 8), 5.0), torch.arange(RECORDS) % 2)
    data = Dataset(torch.nn.functional.pad(data.features, (0, 6)).float(), data.labels)
    released = [joined(initial_params(made, seed)[:SHARED], CLIP if moves else None) for seed in (1, 2)]
    here: dict[str, Own] = {}
    there: dict[str, Own] = {}
    for number, params in enumerate(released, start=1):
        with_it = summed(plan, task, number, params, {"ash": data, "birch": data, "cedar": wild}, here)
        without = summed(plan, task, number, params, {"ash": data, "birch": data}, there)
        far = float((with_it - without).norm())
        assert 0 < far <= CLIP * (1 + FLOAT_SLACK)
        assert with_it.shape == (SHARED + moves,)
        for name in ("ash", "birch"):
            assert torch.equal(here[name].after, there[name].after)  # type: ignore[arg-type]
    assert float((here["cedar"].after - begun_own(task.model)).norm()) > 1  # type: ignore[operator]


def both_sites(*, unit: str = "record", noised: bool = True) -> tuple[Tensor, list[Own]]:
    """How far the sums of each step of two rounds are apart at two neighboring sites (6, d), and what each kept.

    `noised`: the optimizers of both see the same noised sums, one outcome that either can have. If not, they see
    their own sums bare.
    """
    far = {"training.learning_rate": 40.0, **({"task.patient": "who"} if unit == "patient" else {})}
    plan, task = keeping(unit=unit, noise="site", sample_rate=1.0, **far)
    first, second = (initial_params(made, seed)[:SHARED] for seed in (1, 2))
    noise = torch.randn(6, SHARED + 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    steps: list[Tensor] = []
    kept: list[Own] = []
    for records in neighbors():
        data = Dataset(records.features, records.labels, torch.arange(len(records)))
        seen: list[Tensor] = []

        def finish(total: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(total.clone())
            return noise[len(seen) - 1] if noised else total

        own = Own(begun_own(task.model))
        for number, params in ((1, first), (2, second)):
            own = Own(own.before if own.after is None else own.after)
            trainer = Trainer(task, data, lambda _: Stream(bytes(32)), own=own)
            work = SiteWork(at(plan, number), "ash", params, trainer, Stream(bytes([number]) * 32))
            assert work.noised_update(CLIP, finish).shape == (SHARED,)
        steps.append(torch.stack(seen))
        kept.append(own)
    return steps[0] - steps[1], kept


@pytest.mark.parametrize("unit", ["record", "patient"])
def test_one_moves_the_steps_of_either_round_by_one_clip_over_shared_and_kept_layers(unit: str) -> None:
    """Noise at the site: the joint vector is clipped, and what is kept follows from it noised."""
    moved, kept = both_sites(unit=unit)
    assert torch.equal(kept[0].after, kept[1].after)  # type: ignore[arg-type]
    assert moved.shape == (6, SHARED + 8)
    assert 0.9 < float(moved.norm(dim=1).max()) <= CLIP * (1 + FLOAT_SLACK)
    assert min(float(moved[:, :SHARED].norm()), float(moved[:, SHARED:].norm())) > 0.01, "one clip over both"


def test_without_noise_in_its_steps_one_record_moves_the_next_round_by_far_more() -> None:
    """The control: the same layers, kept as they are."""
    moved, kept = both_sites(noised=False)
    assert not torch.equal(kept[0].after, kept[1].after)  # type: ignore[arg-type]
    assert float(moved[0].norm()) <= CLIP * (1 + FLOAT_SLACK)
    assert float(moved[3:].norm(dim=1).max()) > 2 * CLIP


def test_what_a_site_keeps_has_the_noise_of_its_steps() -> None:
    """With no record at all, shared and kept numbers move by the noise alone, and both by as much."""
    plan, task = keeping(unit="record", noise="site", sample_rate=1.0)
    terms, moved = at(plan, 1), []
    nobody = Dataset(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64))
    params = initial_params(made, 1)[:SHARED]
    for _ in range(12):
        own = Own(begun_own(task.model))
        stream = Stream(os.urandom(32))
        work = SiteWork(
            terms, "ash", params, Trainer(task, nobody, lambda _, one=stream: one, own=own), stream
        )
        shared = terms.kind.update(terms.parties, "ash", work, stream)  # type: ignore[attr-defined]
        moved.append((shared, own.after.double() - own.before))  # type: ignore[union-attr]
    mechanism = terms.kind.mechanism(terms.parties)
    assert mechanism.dimension == SHARED + 8
    each = mechanism.deviation * mechanism.step * 2.0 / RECORDS  # of a step: noise, rate, expected batch
    for part, count in (
        (torch.cat([one for one, _ in moved]), SHARED),
        (torch.cat([own for _, own in moved]), 8),
    ):
        ratio = float((part * part).mean()) / (3 * each * each)  # three steps
        assert abs(ratio - 1) < 6 * math.sqrt(2 / (12 * count))  # six deviations: 2e-9


def test_a_release_of_site_noise_has_its_own_epsilon_whatever_is_kept() -> None:
    kept, _ = keeping(unit="record", noise="site")
    bare = parse(kept.to_toml().replace("kept = 8\n", ""))
    assert kept.kind.charge == bare.kind.charge
    assert kept.digest != bare.digest


@pytest.mark.parametrize("unit", ["record", "patient"])
@pytest.mark.parametrize("noise", ["distributed", "central"])
def test_noise_that_is_in_the_sum_covers_nothing_that_a_site_keeps(unit: str, noise: str) -> None:
    claim = {"unit": unit, "noise": noise, "epsilon": 1.0, "delta": 1e-5, "clipping_norm": 1.0}
    whose = {"task.patient": "who"} if unit == "patient" else {}
    with pytest.raises(
        UnsafeParameters, match=r"line \d+ personal.kept = 8: .*not in what a site keeps, so one"
    ):
        parse(text_of({**claim, **whose}) + KEPT)


def test_steps_that_end_in_no_number_leave_what_was_kept() -> None:
    own = Own(torch.ones(2))
    own.move(torch.tensor([math.nan, 1.0]))
    assert torch.equal(own.after, torch.ones(2))  # type: ignore[arg-type]
