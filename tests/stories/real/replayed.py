"""What a run should have ended with: its rounds once more, in this process, with the survivors that it had."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from clients.data.folders import find_sites
from clients.training.work import Trainer, contribution, site_stream
from federation.report.receipt import Receipt
from federation.round.messages import Member
from federation.round.parts import Sum
from federation.round.terms import Terms
from federation.sums.state import advance, begin
from server.playing import terms_of
from server.run import server_stream
from simulations.simulate import simulate
from simulations.world import read_world
from tests.stories.real.consortium import SITES, Consortium
from tests.worlds import load_params, start


def twins_of(consortium: Consortium) -> Path:
    """A folder with the sites' files, as a simulation takes them, with ledgers of their own."""
    folder = consortium.folder / "twins"
    for name in SITES:
        (folder / name / "keys").mkdir(parents=True, exist_ok=True)
        for file in ("train.csv", "test.csv", "site.toml", "ca.crt", f"keys/{name}.key", f"keys/{name}.pub"):
            shutil.copy(consortium.site(name) / file, folder / name / file)
    return folder


def protocol(consortium: Consortium) -> Tensor:
    """The params of the engine `protocol`, where nobody is ever lost: every message and mask, in this process."""
    out = consortium.folder / "simulated"
    simulate(consortium.plan, twins_of(consortium), out, engine="protocol", progress=lambda *_: None)
    return load_params(out)


def trainers_of(consortium: Consortium) -> tuple[dict[str, Trainer], dict[str, Member]]:
    """What each site trains with, and as whom it introduces itself."""
    plan = consortium.plan
    world = read_world(plan, find_sites(twins_of(consortium)).sites)
    trainers = {
        name: Trainer(world.task, data, partial(site_stream, plan, name), world.held_out.get(name))
        for name, data in world.training.items()
    }
    return trainers, {member.site: member for member in world.members}


def replayed(
    consortium: Consortium,
    receipts: Sequence[Receipt],
    at: Callable[[Terms, Tensor, dict[str, Trainer]], None] | None = None,
) -> Tensor:
    """The params after these rounds of a plan without noise, from the data alone, without masks and messages.

    `at` sees every round: its terms, the params that it began with, and what the sites train with.
    """
    plan = consortium.plan
    trainers, members = trainers_of(consortium)
    state = begin(plan, bytes(16), start(plan))
    for receipt in receipts:
        terms = terms_of(plan, state, tuple(members[name] for name in receipt.cohort))
        if at is not None:
            at(terms, state.params, trainers)
        if receipt.survivors:
            opened = _sum(terms, receipt.survivors, state.params, trainers)
            state, _ = advance(plan, state, [opened], server_stream(0))
        else:
            state = replace(state, round=receipt.round)
    return state.params


def _sum(terms: Terms, survivors: Sequence[str], params: Tensor, trainers: dict[str, Trainer]) -> Sum:
    total = np.zeros(terms.length, np.uint64)
    for name in survivors:
        total += contribution(terms, name, params, trainers[name])
    total &= np.uint64((1 << terms.codec.ring_bits) - 1)
    return Sum(terms, total, tuple(survivors))
