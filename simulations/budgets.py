"""The privacy budget of a plan, without training: noise, epsilon round by round, patients at several sites."""

from __future__ import annotations

from typing import Any

from federation.plan.guarantee import cost_for, epsilons, exposure
from federation.plan.plan import Plan
from federation.round.excess import excess_facts, planned_cohort
from privacy.accounting.costs import Cost
from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import Event, GaussianEvent
from privacy.accounting.filters import Budget, Filter
from privacy.accounting.pld import epsilon_by_round
from privacy.accounting.units import Patient
from privacy.canonical import finite
from privacy.errors import UnsafeParameters

SITES = (1, 2, 3)


def budget_of(plan: Plan) -> dict[str, Any]:
    """The content of `federation budget PLAN --json`.

    `epsilon` and all that stands under no other name is of the training. Where the plan publishes an evaluation,
    `together` is what the run costs, training and evaluation composed, and `evaluation` what it costs by itself.
    """
    event, delta = plan.kind.event, plan.privacy.delta
    if delta is None or not isinstance(event, GaussianEvent):
        raise UnsafeParameters(
            'a plan with privacy.noise = "none" has no budget: its epsilon is infinite',
            hint='choose privacy.noise = "site", "distributed" or "central"',
        )
    whole, rounds = cost_for(plan, plan.privacy.unit, Patient()), plan.federation.rounds
    each = GaussianEvent(event.noise_multiplier, event.sample_rate, plan.kind.releases // rounds)
    records = plan.privacy.records_per_patient or 1
    people = {str(sites): cost_for(plan, "patient", Patient(records, sites)) for sites in SITES}
    return {
        "noise_multiplier": event.noise_multiplier,
        "epsilon": whole.each[0],
        "delta": delta,
        "unit": plan.privacy.unit,
        "sample_rate": event.sample_rate,
        "steps": event.count,
        **_together(plan, whole, people),
        **excess_facts(plan, planned_cohort(plan)),
        "accountants": {"pld": whole.each[0], **cross_check([event], delta)},
        "rounds": [
            {"round": number, "epsilon": spent}
            for number, spent in enumerate(epsilon_by_round(each, rounds, delta), start=1)
        ],
        "patient_at_sites": {sites: finite(spent.each[0]) for sites, spent in people.items()},
        "units": exposure(plan, planned_cohort(plan)),
        "filter": _filter([charge.event for charge in plan.charges], Budget(whole.together, delta)),
    }


def _together(plan: Plan, whole: Cost, people: dict[str, Cost]) -> dict[str, Any]:
    """What the evaluation adds; nothing where the plan publishes none."""
    facts = epsilons(whole)
    if plan.figures is None:
        return {}
    return {
        "evaluation": {**facts["evaluation"], "noise_multiplier": plan.figures.noise_multiplier},
        "together": {
            **facts["together"],
            "patient_at_sites": {sites: finite(spent.together) for sites, spent in people.items()},
        },
    }


def _filter(events: list[Event], budget: Budget) -> dict[str, Any]:
    """The plan's load under a limit of exactly this plan, and the limit above which more plans may follow."""
    rule = Filter.frozen(budget, events[0])
    load, capacity = rule.load(events, budget), rule.capacity(budget)
    room = budget.epsilon + max(0.0, load - 1) * capacity
    return {**rule.to_json(), "load": finite(load), "room_from": finite(room)}
