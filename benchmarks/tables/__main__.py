"""AUC and calibration of ours, of pooled models without privacy and of Opacus, on the same held-out rows.

    python -m benchmarks.tables DATA [SEEDS]

DATA is a folder with the public tables as benchmarks/tables/sets.py names them; what is not there is left out.
A seed chooses the quarter that is tested on. It writes benchmarks/tables.md after each table.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.tables.page import EPSILONS, PAGE, Found, page
from benchmarks.tables.peers import opacus, without_privacy
from benchmarks.tables.sets import Dealt, deal, sets
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


def main(folder: str, seeds: int = 3) -> None:
    """Run everything, seed by seed, and write the page after each."""
    found: Found = defaultdict(list)
    known = [each for each in sets() if each.there(Path(folder))]
    with tempfile.TemporaryDirectory() as name:
        for seed in range(seeds):
            for number, each in enumerate(known):
                dealt = deal(each, Path(folder), Path(name) / f"{number}-{seed}", seed)
                for choice, figures in _judged(dealt, seed, is_survival="event" in each.task):
                    found[each.name, choice].append(figures)
                    print(seed, each.name, choice, *(f"{one:.4f}" for one in figures), flush=True)
                PAGE.write_text("\n".join(page(known, found)), "utf-8")


def _judged(dealt: Dealt, seed: int, *, is_survival: bool) -> Iterator[tuple[str, tuple[float, float]]]:
    """Of every choice: AUC (or C-index), and the mean score less the share of positives (or mean Brier score)."""
    for model in MODELS:
        for epsilon in (*EPSILONS, None) if is_survival else EPSILONS:
            plan, settings = decided(dealt, model, epsilon, seed, is_survival=is_survival)
            world, state_model = _trained(plan, dealt)
            measured = pooled_metrics(world, state_model)
            named = f"ours, {model}, " + ("without privacy" if epsilon is None else f"epsilon {epsilon:g}")
            if is_survival:
                yield named, (float(measured["c_index"] or 0), float(measured["mean_brier"] or 0))
                continue
            inputs, labels = _pooled(world.training)
            tested, truth = _pooled(world.held_out)
            with torch.no_grad():
                scores = torch.softmax(state_model(torch.tensor(tested)).double(), 1)[:, 1].numpy()
            yield named, _figures(scores, truth)
            if model == MODELS[0]:
                delta = plan.privacy.delta or 0.0
                scores = opacus(inputs, labels, tested, epsilon or 0.0, delta, settings)
                yield f"Opacus, logistic, epsilon {epsilon:g}", _figures(scores, truth)
            if model == MODELS[0] and epsilon == EPSILONS[0]:
                for other, scores in without_privacy(inputs, labels, tested, seed).items():
                    yield f"pooled {other}", _figures(scores, truth)


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


def _trained(plan: Plan, dealt: Dealt) -> tuple[World, Any]:
    world = read_world(plan, find_sites(dealt.sites).sites)
    state = begin(plan, bytes(16), initial_params(world.task.model, plan.federation.seed))
    *_, (state, _) = run_vectorized(plan, state, world.members, adding_of(plan, world), server_stream)
    return world, model_of(world, state.model)


def _pooled(parts: Any) -> tuple[Any, Any]:
    found = [parts[name] for name in sorted(parts)]
    return (
        torch.cat([one.features for one in found]).numpy(),
        torch.cat([one.labels for one in found]).numpy(),
    )


def _figures(scores: Any, truth: Any) -> tuple[float, float]:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, scores)), float(np.mean(scores) - np.mean(truth))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
