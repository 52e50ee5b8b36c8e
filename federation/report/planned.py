"""Facts of a plan by itself, before anything is trained: what `federation check` says of it."""

from __future__ import annotations

from typing import Any

from federation.kinds.folds import folds_facts
from federation.model.shape import known_dimension
from federation.plan.columns.encoder import encoders_of, promise
from federation.plan.guarantee import clipping_facts, cost_for, of_two, with_risk
from federation.plan.personal import named
from federation.plan.plan import Plan
from federation.plan.settings import hints
from federation.round.cohort import stand_ins
from federation.round.excess import excess_facts, planned_cohort
from federation.round.groups import group_sizes, noise_factor
from federation.round.messages import Member
from federation.round.sizes import require_carried
from federation.round.terms import Terms
from federation.sums.transcript.sizes import facts as transcript_facts
from privacy.accounting.events import GaussianEvent
from privacy.accounting.units import Patient
from privacy.secagg.parameters import Parameters


def plan_facts(plan: Plan, size: int, sites: int | None = None) -> dict[str, Any]:
    """Settles the terms of the smallest cohort, or group: this refuses a plan on which no round could agree.

    What depends on how many take part is told of the cohort that so many `sites` make, which declare a `size` each;
    of the smallest cohort where their number is open.
    """
    dimension, base = _model(plan)
    least, usual = plan.cohort.minimum, planned_cohort(plan, sites)
    event, rules = plan.kind.event, _terms(plan, size, least, dimension).parameters
    terms = _terms(plan, size, least if sites is None else usual, dimension)
    require_carried(dimension, terms.codec.ring_bits, max(least, usual))
    return {
        "plan_digest": plan.digest,
        "name": plan.federation.name,
        "rounds": plan.federation.rounds,
        **folds_facts(plan),
        "model_parameters": dimension,
        **_encoders(plan),
        **base,
        **_code(plan),
        **_purpose(plan),
        "private": plan.is_private,
        "unit": plan.privacy.unit,
        "noise": plan.privacy.noise,
        "epsilon": None,
        "delta": plan.privacy.delta,
        "noise_multiplier": event.noise_multiplier if isinstance(event, GaussianEvent) else None,
        **_costs(plan, usual),
        **clipping_facts(plan, usual),
        **_average(plan),
        **_personal(plan),
        **_groups(plan, usual),
        **of_two(plan),
        **({} if sites is None else {"cohort": _shares(terms.parameters)}),
        "smallest_cohort": _shares(rules),
        "upload_bytes_per_round": (terms.length * terms.codec.ring_bits + 7) // 8,
        "transcripts": transcript_facts(plan, usual, dimension),
        "hints": list(hints(plan, dimension)),
    }


def _terms(plan: Plan, size: int, sites: int, dimension: int) -> Terms:
    """Of the first round of so many sites; where they are cut into groups, of the smallest of these."""
    members = tuple(Member(site, size) for site in stand_ins(sites))
    return Terms(plan, bytes(16), 1, 1, members, dimension).groups[-1]


def _shares(rules: Parameters) -> dict[str, int]:
    return {
        "sites": rules.count,
        "shares_that_unmask": rules.threshold,
        "dropouts_survived": rules.tolerated,
    }


def _model(plan: Plan) -> tuple[int, dict[str, Any]]:
    """How many parameters travel, and what is known of those that do not.

    TaskError or CodeError if the model is the user's own and does not fit.
    """
    if (known := known_dimension(plan)) is not None:
        return known, {}
    from federation.model.params import Layout
    from federation.model.task import build_task

    model = build_task(plan).model()
    dimension = Layout.of(model).dimension
    if plan.base is None:
        return dimension, {}
    facts = {
        "digest": plan.base.digest,
        "parameters_in_all": sum(parameter.numel() for parameter in model.parameters()),
        "trained": dimension,
        "trained_on": plan.base.told,
    }
    return dimension, {"base": facts}


def _encoders(plan: Plan) -> dict[str, Any]:
    """What reads the plan's texts, by the digest of its files, and what is not promised."""
    found = {one.name: f"{one.digest}. {promise(one.name, one.trained_on)}" for one in encoders_of(plan.task)}
    return {"encoders": found} if found else {}


def _code(plan: Plan) -> dict[str, Any]:
    """The files of the user's own package as they are here, and whether the plan has every site use just them."""
    if not plan.has_own_code:
        return {}
    from federation.model.code import code_digest

    return {"code": {"digest": code_digest(plan.code), "pinned": plan.federation.code is not None}}


def _purpose(plan: Plan) -> dict[str, Any]:
    """What the plan is for, in its own words: they are in the digest, and change nothing that a run does."""
    return {} if plan.purpose is None else {"purpose": dict(plan.purpose.lines())}


def _average(plan: Plan) -> dict[str, Any]:
    """What the run ends with, where that is no round's params. It is made of what the rounds release."""
    decay = plan.server.iterate_average
    if decay is None:
        return {}
    return {"iterate_average": f"{decay:g}: of all rounds' params; it costs no privacy"}


def _personal(plan: Plan) -> dict[str, Any]:
    """What each site makes of the released model for itself."""
    rules = plan.personal
    if rules is None:
        return {}
    pull = "" if rules.pull is None else f", pulled back by {rules.pull:g}"
    layers = "" if rules.layers is None else f" of {named(rules.layers)}"
    steps = f"{rules.steps} steps{layers} at {rules.learning_rate:g}{pull}"
    found = {"personal": f"{steps}, after the last round; it never leaves its site"}
    if rules.kept:
        told = "trained in every round, and never sent: each site keeps its own"
        found["kept_layers"] = f"{named(rules.layers or ())} ({rules.kept:,} numbers), {told}"
    return found


def _groups(plan: Plan, sites: int) -> dict[str, Any]:
    """The groups of the planned cohort, and the noise on the mean of their means over that on one mean of all."""
    groups = plan.secure_aggregation.groups
    if groups is None:
        return {}
    facts: dict[str, Any] = {"sizes": list(group_sizes(sites, groups)), "combine": plan.server.combine}
    return {"groups": facts | ({"noise_factor": noise_factor(plan, sites)} if plan.is_private else {})}


def _costs(plan: Plan, sites: int) -> dict[str, Any]:
    """What the run costs one unit that the plan protects, as `budget` says it, and how much more noise it has."""
    if not plan.is_private:
        return {}
    unit = plan.privacy.unit
    costs = with_risk(cost_for(plan, unit, Patient()), plan, unit, Patient())
    return {**costs, **excess_facts(plan, sites)}
