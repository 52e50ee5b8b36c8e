"""Small sites and plans that the tests of whole runs share, and a run worked out without any of our machinery."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from clients.data.folders import find_sites
from clients.site import Site
from clients.training.work import Trainer, contribution
from federation.identity.roles import create_coordinator, load_any_public
from federation.identity.roster_file import add_to_roster
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, build_task
from federation.plan.plan import Plan, load
from federation.report.receipt import Receipt
from federation.round.messages import Member
from federation.round.parts import Sum
from federation.round.terms import Terms
from federation.round.transport import Transport
from federation.sums.state import ServerState
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import Stream
from privacy.roster import Roster
from server.playing import Setting
from server.run import run, server_stream
from server.sessions import Lines, open_lines
from server.voice import Voice
from simulations.simulate import Engine
from simulations.vectorized import Summed
from simulations.world import World, open_sites, read_world
from tests import plans

HERE: tuple[Engine, ...] = ("vectorized", "protocol", "flower")  # what needs nothing but a plain installation

NAMES = ("ash", "birch", "cedar", "dogwood", "elm")

TREES: plans.Changes = {
    "name": "trees",
    "rounds": 3,
    "target": "sick",
    "classes": ["no", "yes"],
    "task.features": {
        "age": {"low": 20, "high": 90},
        "dose": {"low": -1, "high": 1},
        "ward": {"values": ["a", "b", "c"]},
    },
    "deadline_seconds": 5,
    "sample_rate": 1.0,
    "noise": "none",
    "server.optimizer": "average",
    "server.learning_rate": 1.0,
    "holdout": 0.25,
    "metrics": ["accuracy", "auc"],
}
text_of = partial(plans.text_of, TREES)
plan_of = partial(plans.plan_of, TREES)


def rows_of(site: int, count: int) -> list[list[str]]:
    """Records that follow from their numbers alone; older people with larger doses are sick."""
    rows = []
    for number in range(count):
        age, dose = 20 + (37 * number + 11 * site) % 71, round(((29 * number + 7 * site) % 41 - 20) / 20, 2)
        sick = age / 35 + dose + (number % 5 == site) > 2
        rows.append([str(age), str(dose), "abc"[(number + site) % 3], "yes" if sick else "no"])
    return rows


def write_sites(folder: Path, sites: int = 3, records: int = 40) -> Path:
    """`folder`/NAME.csv for the first few names; site s holds `records` + 8 s records."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES[:sites]):
        write_csv(folder / f"{name}.csv", rows_of(number, records + 8 * number))
    return folder


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Rows under the plan's header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([["age", "dose", "ward", "sick"], *rows])


@contextmanager
def opened(plan: Plan, folder: Path, sites: int = 3) -> Iterator[tuple[World, dict[str, Site]]]:
    """The world of a plan, its sites open with journals in `folder`."""
    world = read_world(plan, find_sites(write_sites(folder / "sites", sites)).sites)
    parties = open_sites(world, folder / "journals")
    try:
        yield world, parties
    finally:
        for site in parties.values():
            site.journal.close()


def start(plan: Plan) -> Tensor:
    """The params before the first round."""
    return initial_params(build_task(plan).model, plan.federation.seed)


def terms_for(plan: Plan, members: Sequence[Member], params: Tensor, attempt: int = 1) -> Terms:
    """The terms of the first round."""
    return Terms(plan, bytes(16), 1, attempt, tuple(members), params.numel())


def mean_delta(terms: Terms, total: RingVector, survivors: Sequence[str], stream: Stream) -> Tensor:
    """The mean delta that the server makes of an opened sum."""
    released = terms.kind.released(terms.parties, total, stream)
    return terms.kind.mean(terms.parties, released, survivors)


def roster_of(world: World) -> Roster:
    """Who the sites are, as the server reads it."""
    return Roster.from_bytes(world.roster.roster)


def rounds_of(
    world: World, transport: Transport, state: ServerState, stream: Callable[[int], Stream] = server_stream
) -> Iterator[tuple[ServerState, Receipt]]:
    """All rounds that are left after a state, over a transport, with everyone in reach who consents."""
    lines, members = opened_lines(world, transport, state.run, stands=(state.round, state.attempt))
    return run(Setting(state, members, lines), stream)


def opened_lines(
    world: World,
    transport: Transport,
    run_id: bytes,
    plan: Plan | None = None,
    stands: tuple[int, int] = (0, 0),
) -> tuple[Lines, tuple[Member, ...]]:
    """The lines to everyone in reach who consents, opened by the world's coordinator."""
    voice = Voice(plan or world.plan, run_id, world.roster, world.coordinator)
    return open_lines(voice, transport, (), stands)


def name_coordinator(roster: Path) -> None:
    """Make a coordinator's key beside a roster, where the server looks for it, and have the roster name it."""
    create_coordinator(roster.parent, "coordinator")
    add_to_roster(roster, load_any_public(roster.parent / "coordinator.pub"))


def contribute(trainers: Mapping[str, Trainer]) -> Summed:
    """What `run_vectorized` asks, answered site by site and without journals."""

    def answer(terms: Terms, params: Tensor) -> Sum:
        members = terms.parameters.members
        total = sum(contribution(terms, name, params, trainers[name]) for name in members)
        return Sum(terms, total & np.uint64((1 << terms.codec.ring_bits) - 1), members)

    return answer


def by_hand(
    plan: Plan,
    data: Mapping[str, Dataset] | Sequence[Mapping[str, Dataset]],
    survivors: Sequence[Sequence[str]],
    weights: Mapping[str, float] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> NDArray[np.float64]:
    """The params of a logistic run over the survivors of each round, in NumPy and on paper.

    Full batches, one local step, server optimizer "average": x -= server rate * local rate * mean of gradients,
    where the gradient of softmax regression is (p - y) times the record, summed, and divided by the size that a
    site declares; by default as many records as it has. `data` may be other ones in each round.
    """
    each = [data] * len(survivors) if isinstance(data, Mapping) else data
    declared = sizes or {name: len(records) for name, records in each[0].items()}
    params = start(plan).numpy().astype(np.float64)
    rate = plan.server.learning_rate * plan.training.learning_rate
    for names, records in zip(survivors, each, strict=True):
        shares = np.array([(weights or {}).get(name, 1.0) for name in names])
        gradients = np.stack([_gradient(params, records[name]) / declared[name] for name in names])
        params = params - rate * (shares @ gradients) / shares.sum()
    return params


def _gradient(params: NDArray[np.float64], data: Dataset) -> NDArray[np.float64]:
    features, labels = data.features.numpy().astype(np.float64), data.labels.numpy()
    inputs, classes = features.shape[1], len(params) // (features.shape[1] + 1)
    weight, bias = params[: classes * inputs].reshape(classes, inputs), params[classes * inputs :]
    scores = features @ weight.T + bias
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    errors = chances - np.eye(classes)[labels]
    return np.concatenate([(errors.T @ features).reshape(-1), errors.sum(axis=0)])


def close(params: Tensor, expected: NDArray[np.float64], tolerance: float = 2e-5) -> bool:
    """Equal up to the grid of the ring (2e-6 a round) and float32."""
    return bool(np.abs(params.numpy().astype(np.float64) - expected).max() < tolerance)


def load_params(folder: Path) -> Tensor:
    """The params of a finished run folder, flat, in the layout's order."""
    tensors = load_file(folder / "params.safetensors")
    names = Layout.of(build_task(load(folder / "plan.toml")).model()).names
    return torch.cat([tensors[name].reshape(-1) for name in names])
