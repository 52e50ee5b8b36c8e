"""The privacy budget of a plan, without training: noise, epsilon round by round, patients at several sites."""

from __future__ import annotations

from typing import Any

from federation.plan.guarantee import epsilon_for, exposure
from federation.plan.plan import Plan
from privacy.accounting.crosscheck import cross_check
from privacy.accounting.events import GaussianEvent
from privacy.accounting.filters import Budget, Filter
from privacy.accounting.pld import epsilon, epsilon_by_round
from privacy.accounting.units import Patient
from privacy.canonical import finite
from privacy.errors import UnsafeParameters

SITES = (1, 2, 3)


def budget_of(plan: Plan) -> dict[str, Any]:
    """The content of `federation budget PLAN --json`."""
    event, delta = plan.kind.event, plan.privacy.delta
    if delta is None or not isinstance(event, GaussianEvent):
        raise UnsafeParameters(
            'a plan with privacy.noise = "none" has no budget: its epsilon is infinite',
            hint='choose privacy.noise = "site", "distributed" or "central"',
        )
    whole, rounds = epsilon([event], delta), plan.federation.rounds
    each = GaussianEvent(event.noise_multiplier, event.sample_rate, plan.kind.releases // rounds)
    budget, records = Budget(whole, delta), plan.privacy.records_per_patient or 1
    rule = Filter.frozen(budget, event)
    return {
        "noise_multiplier": event.noise_multiplier,
        "epsilon": whole,
        "delta": delta,
        "unit": plan.privacy.unit,
        "sample_rate": event.sample_rate,
        "steps": event.count,
        "accountants": {"pld": whole, **cross_check([event], delta)},
        "rounds": [
            {"round": number, "epsilon": spent}
            for number, spent in enumerate(epsilon_by_round(each, rounds, delta), start=1)
        ],
        "patient_at_sites": {
            str(sites): finite(epsilon_for(plan, "patient", Patient(records, sites))) for sites in SITES
        },
        "units": exposure(plan, _sites(plan)),
        "filter": _filter(rule, event, budget),
    }


def _filter(rule: Filter, event: GaussianEvent, budget: Budget) -> dict[str, Any]:
    """The plan's load under a limit of exactly this plan, and the limit above which more plans may follow."""
    load, capacity = rule.load([event], budget), rule.capacity(budget)
    room = budget.epsilon + max(0.0, load - 1) * capacity
    return {**rule.to_json(), "load": finite(load), "room_from": finite(room)}


def _sites(plan: Plan) -> int:
    """The size of the cohort that the plan asks for, or its minimum while the size is open."""
    size = plan.cohort.size
    return size if isinstance(size, int) else plan.cohort.minimum
