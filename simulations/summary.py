"""A simulation's report: the summary of a run, and what only a simulation can know."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from federation.errors import TrainingDiverged
from federation.model.params import Layout
from federation.plan.guarantee import charged_cost
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.report.report import Amount, Evaluation, Figures, Metrics, Report, Tried, UnlikelySum
from federation.report.summary import summary_of
from privacy.accounting.units import Charge
from simulations.fairness.grouped import by_group
from simulations.optional import Optional
from simulations.outcomes.judging import judge_of
from simulations.scoring.beside import beside
from simulations.world import World


def model_of(world: World, params: Tensor) -> nn.Module:
    """The task's model with these params."""
    model = world.task.model()
    Layout.of(model).load(model, params)
    return model


def pooled_metrics(world: World, model: nn.Module) -> Metrics:
    """The plan's metrics over all held-out records together. TrainingDiverged if the model says nothing."""
    return _measured(world, model, *_pool(world))


def _measured(world: World, model: nn.Module, features: Tensor, labels: Tensor) -> Metrics:
    judge = judge_of(world.outcome)
    said = judge.predict(model, features)
    if not bool(torch.isfinite(said).all()):
        raise TrainingDiverged("the model's outputs are not finite", hint="lower training.learning_rate")
    rules = world.plan.evaluation
    known = _known(world)
    found = judge.measured(said, labels, known, rules.threshold) if known else {}
    own = _by_own_code(world, model, features, labels) if len(known) < len(rules.metrics) else {}
    return {name: {**found, **own}[name] for name in rules.metrics}


def _known(world: World) -> list[str]:
    """The plan's metrics but those that the task brings."""
    return [name for name in world.plan.evaluation.metrics if name not in world.task.metrics]


def _by_own_code(world: World, model: nn.Module, features: Tensor, labels: Tensor) -> Metrics:
    """The metrics that the task brings, of outputs as the model gives them; None where one is not finite."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            outputs = model(features)
            made = {name: metric(outputs, labels) for name, metric in world.task.metrics.items()}
    finally:
        model.train(training)
    return {
        name: None if value is None or not math.isfinite(value) else value for name, value in made.items()
    }


def summarize(
    world: World,
    model: nn.Module,
    receipts: Sequence[Receipt],
    rounds: Mapping[str, int],
    *,
    engine: str,
    seconds: float,
    published: Mapping[str, Any] | None = None,
    unlikely: UnlikelySum | None = None,
    evaluated: Collection[str] | None = None,
    charged: Mapping[str, Sequence[Charge]] = MappingProxyType({}),
    tried: Tried | None = None,
    missing: Mapping[str, str] = MappingProxyType({}),
    population: int | None = None,
) -> Report:
    """The report of a run that ended in `model`.

    `rounds` says how many each site began, `evaluated` who began the evaluation, `charged` what each ledger holds,
    `tried` how often the same data were simulated. `population`: how many sites there are, where none is listed.
    `missing`: figures that are not made yet or cannot be made, and why.
    """
    report = summary_of(
        world.plan,
        receipts,
        rounds,
        engine=engine,
        simulated=True,
        published=published,
        unlikely=unlikely,
        seconds=seconds,
        evaluated=evaluated,
        evaluation=_evaluation(world, model, missing),
        population=population,
    )
    sites = (
        site.model_copy(update=_read(world, site.id) | _charged(world.plan, charged.get(site.id)))
        for site in report.sites
    )
    privacy = report.privacy if tried is None else report.privacy.model_copy(update={"tried": tried})
    return report.model_copy(update={"sites": tuple(sites), "privacy": privacy})


def _read(world: World, site: str) -> dict[str, int | None]:
    """The lines of a site's files, where they are tables, and the records that it trains on."""
    lines = [file.lines for file in world.files[site] if file.lines is not None]
    return {"records": len(world.training[site]), "lines": sum(lines) if lines else None}


def _charged(plan: Plan, charges: Sequence[Charge] | None) -> dict[str, Amount]:
    """What a site's ledger holds charged for the run, as one number; nothing without privacy."""
    if charges is None or not plan.is_private:
        return {}
    return {"charged": Amount(epsilon=charged_cost(plan, charges))}


def _evaluation(world: World, model: nn.Module, missing: Mapping[str, str]) -> Evaluation:
    """Every figure by itself: one that cannot be made is n/a and leaves the others alone."""
    if world.plan.task_is_tally:
        return Evaluation(pooled={}, sites={})
    metrics, optional, judge = world.plan.evaluation.metrics, Optional(), judge_of(world.outcome)

    def figures(place: str, features: Tensor, labels: Tensor) -> Figures:
        found = optional.make(place, metrics, partial(_measured, world, model, features, labels))
        return {**found, **judge.counts(labels)}

    held = sorted(world.held_out.items())
    places = {"pooled": _pool(world)} | {f"sites.{name}": (of.features, of.labels) for name, of in held}
    sites = {name: figures(f"sites.{name}", data.features, data.labels) for name, data in held}
    known = {
        metric: [one for site in sites.values() if (one := site[metric]) is not None] for metric in metrics
    }
    ours, untrained = _known(world), f"baselines.{judge.baseline}"
    guess = partial(judge.without_features, world.labels(), _pool(world)[1], ours)
    guessed = optional.make(untrained, ours, guess) if ours else {}
    return Evaluation(
        pooled=figures("pooled", *_pool(world)),
        mean_of_sites={metric: sum(of) / len(of) if of else None for metric, of in known.items()},
        mean_of_sites_n={metric: len(of) for metric, of in known.items()},
        sites=sites,
        baselines={judge.baseline: {**dict.fromkeys(metrics), **guessed}},
        missing={**optional.missing, **missing},
        **beside(world, model, places),
        **_groups(world, model),
    )


def _groups(world: World, model: nn.Module) -> dict[str, Any]:
    """Figures by group, where the plan names any and they can be made."""
    if not world.plan.evaluation.groups:
        return {}
    held = [data for _, data in sorted(world.held_out.items())]
    with suppress(Exception):  # as any figure that a run can do without (simulations/optional.py)
        said = judge_of(world.outcome).predict(model, _pool(world)[0])
        if (found := by_group(world, said, held)) and bool(torch.isfinite(said).all()):
            return {"groups": found}
    return {}


def with_baseline(report: Report, name: str, metrics: Metrics, reason: str) -> Report:
    """The report with one more baseline; `reason` says why it has no figures, "" if it has."""
    told = report.evaluation
    missing = {key: why for key, why in told.missing.items() if key != f"baselines.{name}"}
    if reason:
        missing[f"baselines.{name}"] = reason
    baselines = {**told.baselines, name: metrics}
    evaluation = told.model_copy(update={"baselines": baselines, "missing": missing})
    return report.model_copy(update={"evaluation": evaluation})


def _pool(world: World) -> tuple[Tensor, Tensor]:
    held = [data for _, data in sorted(world.held_out.items())]
    return torch.cat([data.features for data in held]), torch.cat([data.labels for data in held])
