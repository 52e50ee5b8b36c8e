"""A simulation's report: the summary of a run, and what only a simulation can know."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from clients.training.work import Trainer, contribution, site_stream
from federation.config.tables import Privacy
from federation.model.params import Layout, initial_params
from federation.plan.plan import Plan
from federation.report.receipt import Receipt
from federation.report.report import Evaluation, Metrics, Report, Tried
from federation.report.summary import summary_of
from federation.round.terms import Terms
from privacy.mechanism.encoding import RingVector
from server.state import begin
from simulations.metrics import evaluate, figures, majority, predict
from simulations.vectorized import run_vectorized
from simulations.world import World, server_stream


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
    state = begin(bare, bytes(16), initial_params(world.task.model, plan.federation.seed))

    def contribute(terms: Terms, site: str, params: Tensor) -> RingVector:
        trainer = Trainer(world.task, world.training[site], partial(site_stream, bare, site))
        return contribution(terms, site, params, trainer)

    for after, _ in run_vectorized(bare, state, world.members, contribute, server_stream):
        state = after
    return pooled_metrics(world, model_of(world, state.params))


def summarize(
    world: World,
    model: nn.Module,
    receipts: Sequence[Receipt],
    rounds: Mapping[str, int],
    *,
    engine: str,
    baselines: Mapping[str, Metrics],
    seconds: float,
    published: Metrics | None = None,
    evaluated: Collection[str] | None = None,
    tried: Tried | None = None,
) -> Report:
    """The report of a run that ended in `model`.

    `rounds` says how many each site's journal was charged for, `evaluated` whose was charged for the evaluation,
    `tried` how often the same data were simulated.
    """
    report = summary_of(
        world.plan,
        receipts,
        rounds,
        engine=engine,
        simulated=True,
        published=published,
        seconds=seconds,
        evaluated=evaluated,
        evaluation=_evaluation(world, model, baselines),
    )
    sites = (site.model_copy(update=_read(world, site.id)) for site in report.sites)
    privacy = report.privacy if tried is None else report.privacy.model_copy(update={"tried": tried})
    return report.model_copy(update={"sites": tuple(sites), "privacy": privacy})


def _read(world: World, site: str) -> dict[str, int | None]:
    """The lines of a site's files, where they are tables, and the records that it trains on."""
    lines = [file.lines for file in world.files[site] if file.lines is not None]
    return {"records": len(world.training[site]), "lines": sum(lines) if lines else None}


def _evaluation(world: World, model: nn.Module, baselines: Mapping[str, Metrics]) -> Evaluation:
    metrics = world.plan.evaluation.metrics
    features, labels = _pool(world)
    everyone = torch.cat([data.labels for data in world.training.values()])
    sites = {
        name: figures(predict(model, data.features), data.labels, metrics)
        for name, data in sorted(world.held_out.items())
    }
    known = {
        metric: [one for site in sites.values() if (one := site[metric]) is not None] for metric in metrics
    }
    return Evaluation(
        pooled=figures(predict(model, features), labels, metrics),
        mean_of_sites={metric: sum(of) / len(of) if of else None for metric, of in known.items()},
        mean_of_sites_n={metric: len(of) for metric, of in known.items()},
        sites=sites,
        baselines={"majority": majority(everyone, labels, world.classes, metrics), **baselines},
    )


def _pool(world: World) -> tuple[Tensor, Tensor]:
    held = [data for _, data in sorted(world.held_out.items())]
    return torch.cat([data.features for data in held]), torch.cat([data.labels for data in held])
