"""The comparison without privacy: the same settings with neither clipping nor noise; with its own it may do better.

What it ends with does not depend on epsilon, so it is kept for later runs, in `.baselines` beside the run folders:
metrics only, each under a keyed hash of everything that they depend on. Two plans that differ in their privacy
settings alone share one. The name covers the plan's other settings, every site's tensors, and the params and
metrics after the first round, which is always trained: so a task's code that was changed gets another name.

`.baselines` belongs to its user alone, for metrics are exact figures about people. Deleting it costs time only.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.config.tables import Privacy
from federation.errors import TrainingDiverged
from federation.files import replace_file
from federation.model.params import initial_params, params_bytes
from federation.plan.plan import Plan
from federation.report.report import Metrics
from federation.sums.state import ServerState, begin
from server.playing import Members
from server.run import server_stream
from simulations.fingerprints import fingerprint, parts_of
from simulations.optional import DIVERGED
from simulations.summary import model_of, pooled_metrics
from simulations.sums.adding import Adds, here
from simulations.sums.making import adding_of
from simulations.vectorized import run_vectorized
from simulations.world import World

FOLDER = ".baselines"
_KEY_BYTES = 32

Step = Callable[[int, int], None]  # rounds done, rounds in all


@dataclass(frozen=True)
class Baseline:
    """What the comparison ended with, or "diverged" instead of metrics: that, too, is the same every time."""

    metrics: Metrics | None

    def result(self) -> Metrics:
        """The metrics; TrainingDiverged if there are none."""
        if self.metrics is None:
            raise diverged()
        return self.metrics


def without_privacy(
    plan: Plan,
    world: World,
    kept: Path | None = None,
    step: Step = lambda _done, _all: None,
    adds: Adds = here,
) -> Metrics:
    """Metrics of the same training with neither clipping nor noise: what privacy costs is the difference.

    Those that an earlier run left in the folder `kept` are taken from there. TrainingDiverged if there is no model.
    """
    bare = without_claim(plan)
    states, rounds = rounds_of(bare, world, world.members, adds), plan.federation.rounds
    try:
        state = next(states)
    except TrainingDiverged:
        raise diverged() from None
    step(1, rounds)
    place = None if kept is None else place_of(kept, bare, world, state)
    known = None if place is None else _read(place)
    if known is None:
        known = _trained(states, world, state, lambda done: step(done, rounds))
        if place is not None:
            _keep(place, known)
    else:
        step(rounds, rounds)
    return known.result()


def without_claim(plan: Plan) -> Plan:
    """The plan with neither clipping nor noise, and without the figures that are published later."""
    evaluation = plan.evaluation.model_copy(update={"epsilon": None})
    privacy = Privacy(unit=plan.privacy.unit, noise="none")
    return plan.model_copy(update={"privacy": privacy, "evaluation": evaluation})


def rounds_of(plan: Plan, world: World, members: Members, adds: Adds = here) -> Iterator[ServerState]:
    """The state after each round of these members of a world, without accounts: nothing is charged or kept."""
    state = begin(plan, bytes(16), initial_params(world.task.model, plan.federation.seed))
    adding = adds(plan, adding_of(plan, world))
    return (after for after, _ in run_vectorized(plan, state, members, adding, server_stream))


def _trained(
    states: Iterator[ServerState], world: World, state: ServerState, step: Callable[[int], None]
) -> Baseline:
    """Train the rounds that are left."""
    try:
        for after in states:
            state = after
            step(state.round)
        return Baseline(pooled_metrics(world, model_of(world, state.model)))
    except TrainingDiverged:
        return Baseline(None)


def diverged() -> TrainingDiverged:
    """Why there is no model."""
    return TrainingDiverged("these settings diverge without privacy", hint="clipping held them together")


def place_of(folder: Path, bare: Plan, world: World, first: ServerState, what: str = "") -> Path | None:
    """The file for this comparison, or for `what` else is compared by the same settings.

    None if the folder cannot be had, or others could write there.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            return None
        return folder / f"{_name(_key(folder / 'key'), bare, world, first, what)}.json"
    except OSError:
        return None


def _name(key: bytes, bare: Plan, world: World, first: ServerState, what: str) -> str:
    """A keyed hash of all that the metrics depend on. Without the key nobody can find data from it by trying."""
    federation = bare.federation.model_copy(update={"name": ""})
    settings = bare.model_copy(update={"federation": federation}).canonical()
    parts = [settings, repr(world.members).encode(), params_bytes(first.params)]
    parts.append(json.dumps(dict(_figures(world, first))).encode())
    for datasets in (world.training, world.held_out):
        for site, data in sorted(datasets.items()):
            parts += [site.encode(), *parts_of(data)]
    if what:
        parts.append(what.encode())
    return fingerprint(key, parts)


def _figures(world: World, state: ServerState) -> Metrics:
    try:
        return pooled_metrics(world, model_of(world, state.model))
    except TrainingDiverged:
        return {}


def _key(path: Path) -> bytes:
    """The key of a folder of comparisons, made at first use. Whoever comes second takes the first one's."""
    with suppress(FileExistsError), path.open("xb") as file:
        path.chmod(0o600)
        file.write(os.urandom(_KEY_BYTES))
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:  # of a killed process, or of one that is just writing it
        raise FileNotFoundError(path)
    return key


def _read(place: Path) -> Baseline | None:
    """What is kept; None if nothing is, or nothing that can be read."""
    try:
        content = json.loads(place.read_text("utf-8"))
        if content["reason"] == DIVERGED:
            return Baseline(None)
        metrics = {
            str(name): None if value is None else float(value) for name, value in content["metrics"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return Baseline(metrics)


def _keep(place: Path, result: Baseline) -> None:
    metrics = None if result.metrics is None else dict(result.metrics)
    keep_figures(place, {"metrics": metrics, "reason": DIVERGED if metrics is None else None})


def keep_figures(place: Path, content: Mapping[str, Any]) -> None:
    """Write them for later runs, if that is possible: it costs time only."""
    with suppress(OSError):
        replace_file(place, json.dumps(content, allow_nan=False).encode(), is_secret=True)
