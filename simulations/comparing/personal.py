"""What each simulated site gains by its personal model, which it makes of the released one by itself.

It is made as at a real site (`clients.training.personal`), of the records that the site trains on, and judged on
those that it holds out. Nothing of it is charged: at a real site nothing of it leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from clients.training.personal import personal_params
from clients.training.work import site_stream
from federation.errors import InputError
from federation.model.task import whole
from federation.plan.plan import Plan
from federation.report.figures.scores import BesideAlone
from federation.report.report import Metrics, Report
from simulations.fairness.paired import beside_alone, said_at_sites
from simulations.optional import reason
from simulations.outcomes.judging import judge_of
from simulations.summary import model_of
from simulations.virtual.population import Population
from simulations.world import World

PERSONAL = "personal"


@dataclass(frozen=True)
class PersonalModels:
    """By site, the metrics of its personal model on its held-out records, and its gain over the released one."""

    own: dict[str, Metrics]
    gains: BesideAlone
    params: dict[str, Tensor] = field(repr=False)


def personal_models(world: World, params: Tensor, layers: Mapping[str, Tensor]) -> PersonalModels:
    """Those of all sites from the released `params`, and the layers that each kept, where they keep some.

    TrainingDiverged if one is not finite.
    """
    plan, judge, after = world.plan, judge_of(world.outcome), world.plan.last_round + 1
    made = {
        name: personal_params(
            plan,
            world.task,
            params,
            world.training[name],
            site_stream(plan, name, after),
            own=layers.get(name),
        )
        for name in sorted(world.training)
    }
    everything = replace(world, task=whole(world.task))
    held, asked = world.held_out, (plan.evaluation.metrics, plan.evaluation.threshold)
    said = {
        name: judge.predict(model_of(everything, made[name]), held[name].features)
        for name in made
        if name in held
    }
    shared = said_at_sites(world, model_of(world, params))
    own = {name: judge.measured(one, held[name].labels, *asked) for name, one in said.items()}
    return PersonalModels(own, beside_alone(world, said, shared), made)


def with_personal(report: Report, world: World, params: Tensor, layers: Mapping[str, Tensor]) -> Report:
    """The report with what personal models gain, or with why that is not known; as it is where no plan asks.

    Of a site with rules of its own nothing is trained without privacy, not even to compare.
    """
    if world.plan.personal is None or not world.listed or world.rules:
        return report
    try:
        found = personal_models(world, params, layers)
        told = {"personal": found.own, "beside_shared": found.gains}
    except Exception as error:  # a figure that a run can do without; a foreign text may quote the data
        told = {"missing": {**report.evaluation.missing, PERSONAL: reason(error)}}
    return report.model_copy(update={"evaluation": report.evaluation.model_copy(update=told)})


def require_whole(plan: Plan) -> None:
    """InputError where sites keep layers: a run ends with no whole model, so figures of it compare nothing."""
    if plan.kept:
        reason = "leaves no whole model to compare: some layers are each site's own"
        error = InputError(reason, hint="leave it out, or simulate the plan as it is", key="personal.kept")
        plan.place_in(error)
        raise error


def require_one_process(plan: Plan, sites: Path | str | Population, engine: str) -> None:
    """InputError where sites keep layers for themselves, and no process of theirs would keep them."""
    if not plan.kept:
        return
    if engine == "flower-ray":
        hint = "choose the engine vectorized, protocol or flower"
        raise InputError(
            "sites on a Ray cluster keep no layers from round to round: personal.kept", hint=hint
        )
    if not isinstance(sites, Path | str):
        hint = "simulate a folder of sites, or leave out personal.kept"
        raise InputError("virtual sites keep no layers from round to round: personal.kept", hint=hint)
