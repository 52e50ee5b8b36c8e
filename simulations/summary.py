"""What a simulation found, as the content of report.json (schema federation.report/1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clients.release import Trainer, contribution, site_stream
from federation.claim import planned_event
from federation.layout import Layout, initial_params
from federation.plan import Plan, Privacy
from federation.terms import Terms
from privacy.accountant import cross_check, epsilon, epsilon_by_round
from privacy.encoding import RingVector
from privacy.events import Event, GaussianEvent
from server.evaluation import evaluate, majority, predict
from server.state import begin
from simulations.vectorized import run_vectorized
from simulations.world import World, server_stream

SCHEMA = "federation.report/1"
Metrics = Mapping[str, float | None]
Receipts = list[dict[str, Any]]


def model_of(world: World, params: Tensor) -> nn.Module:
    """The task's model with these params."""
    model = world.task.model()
    Layout.of(model).load(model, params)
    return model


def pooled_metrics(world: World, model: nn.Module) -> Metrics:
    """The plan's metrics over all held-out records together."""
    features, labels = _pool(world)
    return evaluate(predict(model, features), labels, world.plan.evaluation.metrics)


def without_privacy(plan: Plan, world: World) -> Metrics:
    """Metrics of the same training with neither clipping nor noise: what privacy costs is the difference."""
    bare = plan.model_copy(update={"privacy": Privacy(unit=plan.privacy.unit, noise="none")})
    state = begin(bare, bytes(16), initial_params(world.task, plan.federation.seed))
    trainers = {
        name: Trainer(world.task, data, partial(site_stream, bare, name))
        for name, data in world.training.items()
    }

    def contribute(terms: Terms, site: str, params: Tensor) -> RingVector:
        return contribution(terms, site, params, trainers[site])

    for after, _ in run_vectorized(bare, state, world.members, contribute, server_stream):
        state = after
    return pooled_metrics(world, model_of(world, state.params))


def summarize(
    world: World,
    model: nn.Module,
    receipts: Receipts,
    rounds: Mapping[str, int],
    *,
    engine: str,
    baselines: Mapping[str, Metrics],
    seconds: float,
) -> dict[str, Any]:
    """report.json of a run that ended in `model`. `rounds` says how many each site's journal was charged for."""
    plan = world.plan
    spent = [entry["seconds"] for entry in receipts]
    client_rounds = sum(len(entry["cohort"]) for entry in receipts)
    return {
        "schema": SCHEMA,
        "name": plan.federation.name,
        "plan_digest": plan.digest,
        "engine": engine,
        "simulated": True,
        "seed": plan.federation.seed,
        "privacy": _privacy(plan),
        "secure_aggregation": plan.secure_aggregation.model_dump(),
        "sites": [
            _site(plan, name, len(data), rounds[name], receipts)
            for name, data in sorted(world.training.items())
        ],
        "rounds": [_round(entry) for entry in receipts],
        "history": _history(plan, receipts),
        "evaluation": _evaluation(world, model, baselines),
        "timing": {
            "total_seconds": seconds,
            "training_seconds": sum(spent),
            "client_rounds_per_second": client_rounds / sum(spent) if sum(spent) else None,
        },
    }


def _privacy(plan: Plan) -> dict[str, Any]:
    privacy, event = plan.privacy, planned_event(plan)
    if privacy.delta is None or not isinstance(event, GaussianEvent):
        return {
            "unit": privacy.unit, "noise": privacy.noise, "epsilon": None, "delta": None,
            "noise_multiplier": None, "accountant": None, "cross_check": {}, "private": False,
        }  # fmt: skip
    return {
        "unit": privacy.unit,
        "noise": privacy.noise,
        "epsilon": epsilon([event], privacy.delta),
        "delta": privacy.delta,
        "noise_multiplier": event.noise_multiplier,
        "clipping_norm": privacy.clipping_norm,
        "accountant": "pld",
        "cross_check": cross_check([event], privacy.delta),
        "private": True,
    }


def _site(plan: Plan, name: str, records: int, rounds: int, receipts: Receipts) -> dict[str, Any]:
    """What one site spent and what went over its line."""
    released = rounds * plan.steps // plan.federation.rounds
    up, down = Counter[str](), Counter[str]()
    for entry in receipts:
        up.update(entry["bytes_up"])
        down.update(entry["bytes_down"])
    return {
        "id": name,
        "records": records,
        "epsilon": _spent(plan, released),
        "rounds": rounds,
        "steps": rounds * plan.training.local_steps,
        "bytes_up": up[name],
        "bytes_down": down[name],
    }


def _spent(plan: Plan, releases: int) -> float | None:
    event: Event = planned_event(plan)
    if plan.privacy.delta is None or not isinstance(event, GaussianEvent):
        return None
    return epsilon([GaussianEvent(event.noise_multiplier, event.sample_rate, releases)], plan.privacy.delta)


def _round(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "round": entry["round"],
        "cohort": len(entry["cohort"]),
        "survivors": len(entry["survivors"]),
        "seconds": entry["seconds"],
    }


def _history(plan: Plan, receipts: Receipts) -> list[dict[str, Any]]:
    event = planned_event(plan)
    spent: list[float | None] = [None] * plan.federation.rounds
    if plan.privacy.delta is not None and isinstance(event, GaussianEvent):
        per_round = GaussianEvent(
            event.noise_multiplier, event.sample_rate, plan.steps // plan.federation.rounds
        )
        spent = list(epsilon_by_round(per_round, plan.federation.rounds, plan.privacy.delta))
    return [
        {"round": entry["round"], "epsilon": spent[entry["round"] - 1], "metrics": entry["metrics"]}
        for entry in receipts
    ]


def _evaluation(world: World, model: nn.Module, baselines: Mapping[str, Metrics]) -> dict[str, Any]:
    metrics = world.plan.evaluation.metrics
    _, labels = _pool(world)
    everyone = torch.cat([data.labels for data in world.training.values()])
    sites = {
        name: evaluate(predict(model, data.features), data.labels, metrics)
        for name, data in sorted(world.held_out.items())
    }
    return {
        "pooled": dict(pooled_metrics(world, model)),
        "mean_of_sites": {metric: _mean([values[metric] for values in sites.values()]) for metric in metrics},
        "sites": sites,
        "baselines": {"majority": majority(everyone, labels, world.classes, metrics), **baselines},
    }


def _mean(values: list[float | None]) -> float | None:
    """Over the sites at which the metric exists."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _pool(world: World) -> tuple[Tensor, Tensor]:
    held = [data for _, data in sorted(world.held_out.items())]
    return torch.cat([data.features for data in held]), torch.cat([data.labels for data in held])
