"""What a process of the cluster answers, asked without a cluster."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from federation.errors import CheckpointError, DataError, InputError, TransportError
from federation.plan.plan import Plan
from privacy.mechanism.noise import SIGMA
from simulations.flower import flower_process
from simulations.ray import cluster, shelves, worker
from simulations.ray.cluster import Spread
from simulations.ray.slices import Work, seen_at
from simulations.sums.making import adding_of
from simulations.world import World
from tests.worlds import NAMES, opened, plan_of, rows_of, start, terms_for, write_csv

Ask = Callable[[int, bytes], bytes]
BUSY = threading.Lock()


def spread_of(world: World, folder: Path, plan: Plan, slices: int, ask: Ask) -> Spread:
    """All sites of a folder in so many slices, each answered by `ask`."""
    key = os.urandom(32)
    seen = {name: seen_at(key, data, world.held_out.get(name)) for name, data in world.training.items()}
    work = Work(plan.to_toml(), str(folder / "sites"), key)
    adding = adding_of(plan, world, device="cpu")
    given = adding.works, adding.own, adding.tally, adding.begins
    return Spread(*given, plan=plan, work=work, ask=ask, at_once=slices, seen=seen)


def in_place(_: int, data: bytes) -> bytes:
    """The answer of this very process, which as a worker does one thing at a time."""
    with BUSY:
        return worker.answer(data)


@pytest.mark.parametrize("slices", [1, 2, 7])
def test_slices_add_up_to_the_sum_of_one_process(slices: int, tmp_path: Path) -> None:
    plan = plan_of(local_steps=2, sample_rate=0.5)
    with opened(plan, tmp_path, sites=5) as (world, _):
        terms = terms_for(plan, world.members, start(plan))
        here = adding_of(plan, world, device="cpu")(terms, start(plan))
        there = spread_of(world, tmp_path, plan, slices, in_place)(terms, start(plan))
    codec = terms.codec
    apart = codec.decode(codec.from_ring(there.total)) - codec.decode(codec.from_ring(here.total))
    assert apart.abs().max() <= 10 * codec.step  # a float that ends otherwise may turn a site's coin
    assert (there.survivors, there.reduced) == (here.survivors, here.reduced)


def test_the_noise_of_slices_is_that_of_all_shares(tmp_path: Path) -> None:
    plan = plan_of(noise="distributed", epsilon=1.0, minimum=5)
    found = []
    with opened(plan, tmp_path, sites=5) as (world, _):
        terms = terms_for(plan, world.members, start(plan))
        spread = spread_of(world, tmp_path, plan, 2, in_place)
        for _ in range(12):
            found.append(terms.codec.from_ring(spread(terms, start(plan)).total))
        expected = terms.kind.sum_variance(terms.parties, 5, 5) / terms.codec.step**2
    spread_out = np.stack(found).astype(np.float64)
    variance = spread_out.var(axis=0, ddof=1).mean()  # with sample rate 1 all but the noise is the same
    count = spread_out.size
    assert expected > SIGMA**2
    assert abs(variance / expected - 1) < 6 * (2 / count) ** 0.5


def test_an_evaluation_is_counted_in_slices(tmp_path: Path) -> None:
    plan = plan_of({"evaluation.epsilon": 1.0}, noise="distributed", minimum=3)
    with opened(plan, tmp_path) as (world, _):
        terms = replace(terms_for(plan, world.members, start(plan)), round=plan.last_round)
        assert terms.is_evaluation
        assert spread_of(world, tmp_path, plan, 2, in_place)(terms, start(plan)).total.shape == (3,)


def test_other_records_than_the_run_began_with_are_not_trained_on(tmp_path: Path) -> None:
    plan = plan_of()
    with opened(plan, tmp_path) as (world, _):
        terms, spread = (
            terms_for(plan, world.members, start(plan)),
            spread_of(world, tmp_path, plan, 2, in_place),
        )
        write_csv(tmp_path / "sites" / f"{NAMES[1]}.csv", rows_of(3, 48))
        with pytest.raises(CheckpointError, match="other records or code") as told:
            spread(terms, start(plan))
        assert told.value.exit_code == 4
        (tmp_path / "sites" / f"{NAMES[1]}.csv").unlink()
        again = spread_of(world, tmp_path, plan, 2, in_place)
        with pytest.raises(DataError, match=f"no site {NAMES[1]}"):
            again(terms, start(plan))


def test_a_process_forgets_what_it_has_no_room_for_and_reads_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of()
    with opened(plan, tmp_path, sites=5) as (world, _):
        terms = terms_for(plan, world.members, start(plan))
        whole = spread_of(world, tmp_path, plan, 5, in_place)(terms, start(plan)).total
        monkeypatch.setattr(shelves, "HELD", 1)
        spread = spread_of(world, tmp_path, plan, 5, in_place)
        for _ in range(2):
            apart = (spread(terms, start(plan)).total - whole).astype(np.int64)
            assert np.abs(apart).max() <= 5  # a float that ends otherwise may turn a coin
        assert len(worker._room(spread.work).shelves.held) == 1


def test_a_worker_that_is_lost_ends_the_run_with_a_name(tmp_path: Path) -> None:
    class Gone:
        def process_message(self, *_: object) -> None:
            raise RuntimeError("the actor died")

    plan = plan_of()
    with opened(plan, tmp_path) as (world, _), flower_process(tmp_path):
        spread = spread_of(world, tmp_path, plan, 2, partial(cluster._asked, Gone()))
        with pytest.raises(TransportError, match="lost or failed") as told:
            spread(terms_for(plan, world.members, start(plan)), start(plan))
    assert told.value.exit_code == 4
    assert "same command" in told.value.hint


def test_without_ray_an_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    backend = "flwr.server.superlink.fleet.vce.backend.raybackend"
    monkeypatch.delitem(sys.modules, backend, raising=False)
    before = dict(os.environ)
    with pytest.raises(InputError, match="not installed") as told, cluster.cluster():
        pass
    assert "private-federation[ray]" in told.value.hint
    assert dict(os.environ) == before
