"""One split of one table: every choice that is judged on it, each computed when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.tables.page import EPSILONS
from benchmarks.tables.peers import POOLED, opacus
from benchmarks.tables.sets import Dealt
from clients.data.folders import find_sites
from federation.config.toml import write
from federation.model.params import initial_params
from federation.model.shape import known_dimension
from federation.plan.plan import Plan, parse
from federation.plan.settings import Settings, settings_for
from federation.plan.tabular import TabularTask
from federation.sums.state import begin
from server.run import server_stream
from simulations.summary import model_of, pooled_metrics
from simulations.sums.making import adding_of
from simulations.vectorized import run_vectorized
from simulations.world import World, read_world

MODELS = ("logistic", "additive")
Pair = tuple[float, float]


@dataclass
class Judging:
    """The files of a split and what was read of them. `dealt` makes the files, once they are needed."""

    make: Callable[[], Dealt]
    seed: int
    is_survival: bool
    _dealt: Dealt | None = None
    _worlds: dict[str, World] = field(default_factory=dict)
    _ours: dict[tuple[str, float | None], Pair] = field(default_factory=dict)

    @property
    def choices(self) -> Mapping[str, Callable[[], Pair]]:
        """By name, in the order in which they are computed."""
        every: dict[str, Callable[[], Pair]] = {}
        for model in MODELS:
            for epsilon in (*EPSILONS, None) if self.is_survival else EPSILONS:
                every[f"ours, {model}, {_said(epsilon)}"] = partial(self._run, model, epsilon)
        for epsilon in EPSILONS:
            every[f"ours, as proposed, {_said(epsilon)}"] = partial(self._proposed, epsilon)
        if self.is_survival:
            return every
        for model in MODELS:
            for epsilon in EPSILONS:
                every[f"Opacus, {model}, {_said(epsilon)}"] = partial(self._opacus, model, epsilon)
        for name in POOLED:
            every[f"pooled {name}"] = partial(self._pooled, name)
        return every

    def dealt(self) -> Dealt:
        """The files of the sites, made when they are first asked for."""
        if self._dealt is None:
            self._dealt = self.make()
        return self._dealt

    def _world(self, model: str) -> World:
        if model not in self._worlds:
            plan, _ = self._decided(model, EPSILONS[0])
            self._worlds[model] = read_world(plan, find_sites(self.dealt().sites).sites)
        return self._worlds[model]

    def _decided(self, model: str, epsilon: float | None) -> tuple[Plan, Settings]:
        return decided(self.dealt(), model, epsilon, self.seed, is_survival=self.is_survival)

    def _run(self, model: str, epsilon: float | None) -> Pair:
        if (model, epsilon) not in self._ours:
            self._ours[model, epsilon] = self._trained(model, epsilon)
        return self._ours[model, epsilon]

    def _trained(self, model: str, epsilon: float | None) -> Pair:
        (plan, _), world = self._decided(model, epsilon), self._world(model)
        state = begin(plan, bytes(16), initial_params(world.task.model, plan.federation.seed))
        *_, (state, _) = run_vectorized(plan, state, world.members, adding_of(plan, world), server_stream)
        trained = model_of(world, state.model)
        if self.is_survival:
            measured = pooled_metrics(world, trained)
            return float(measured["c_index"] or 0), float(measured["mean_brier"] or 0)
        tested, truth = _together(world.held_out)
        with torch.no_grad():
            scores = torch.softmax(trained(torch.tensor(tested)).double(), 1)[:, 1].numpy()
        return _figures(scores, truth)

    def _proposed(self, epsilon: float) -> Pair:
        """The figures of the model that `plan new` proposes, trained once."""
        curves = self._decided("additive", epsilon)[1].has_room
        return self._run("additive" if curves else "logistic", epsilon)

    def _opacus(self, model: str, epsilon: float) -> Pair:
        (plan, settings), world = self._decided(model, epsilon), self._world(model)
        (inputs, labels), (tested, truth) = _together(world.training), _together(world.held_out)
        scores = opacus(inputs, labels, tested, epsilon, plan.privacy.delta or 0.0, settings)
        return _figures(scores, truth)

    def _pooled(self, name: str) -> Pair:
        world = self._world("additive" if name == "additive" else "logistic")
        (inputs, labels), (tested, truth) = _together(world.training), _together(world.held_out)
        return _figures(POOLED[name](inputs, labels, tested, self.seed), truth)


def decided(
    dealt: Dealt, model: str, epsilon: float | None, seed: int, *, is_survival: bool
) -> tuple[Plan, Settings]:
    """The plan of one run, with the settings that `federation plan new --epsilon` proposes for it."""
    tables: dict[str, Any] = {name: dict(table) for name, table in dealt.plan.items()}
    tables["task"]["model"] = model
    tables["federation"]["seed"] = seed
    tables["secure_aggregation"] |= {"dropouts": 0}
    tables["evaluation"] = {"holdout": 0, "metrics": ["c_index", "mean_brier"] if is_survival else ["auc"]}
    tables["privacy"]["epsilon"] = epsilon or EPSILONS[-1]
    first = parse(write(tables))
    assert isinstance(first.task, TabularTask)
    params, delta = known_dimension(first) or 0, float(first.privacy.delta or 0)
    found = settings_for(first.task, params, dealt.records, epsilon or EPSILONS[-1], delta)
    tables["federation"]["rounds"] = found.rounds
    tables["training"] |= {"sample_rate": found.sample_rate, "learning_rate": 1.0}
    tables["privacy"]["clipping_norm"] = found.clipping_norm
    tables["server"] |= {"learning_rate": found.learning_rate}
    if epsilon is None:
        tables["privacy"] = {"unit": tables["privacy"]["unit"], "noise": "none"}
    return parse(write(tables)), found


def _said(epsilon: float | None) -> str:
    return "without privacy" if epsilon is None else f"epsilon {epsilon:g}"


def _together(parts: Any) -> tuple[Any, Any]:
    found = [parts[name] for name in sorted(parts)]
    return (
        torch.cat([one.features for one in found]).numpy(),
        torch.cat([one.labels for one in found]).numpy(),
    )


def _figures(scores: Any, truth: Any) -> Pair:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, scores)), float(np.mean(scores) - np.mean(truth))
