"""The privacy budget of a plan, without training: noise, epsilon round by round, patients at several sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from federation.kinds.folds import folds_facts
from federation.plan.guarantee import cost_for, exposure, of_two, promised, with_risk
from federation.plan.plan import Plan
from federation.round.excess import excess_facts, planned_cohort
from privacy.accounting.bounds import Mechanism, recount
from privacy.accounting.costs import Cost
from privacy.accounting.events import Event, GaussianEvent
from privacy.accounting.filters import Budget
from privacy.accounting.pld import COARSE, EXACT, accountant, epsilon, epsilon_by_round, rdp_epsilon
from privacy.accounting.units import Limit, Patient
from privacy.canonical import finite
from privacy.errors import UnsafeParameters

SITES = (1, 2, 3)


def budget_of(plan: Plan, working_on: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """The content of `federation budget PLAN --json`. `working_on` is told each part before it takes its time.

    `epsilon` and all that stands under no other name is of the training. Where the plan publishes an evaluation,
    `together` is what the run costs, training and evaluation composed, and `evaluation` what it costs by itself.
    """
    privacy, rounds = plan.privacy, plan.federation.rounds
    working_on("the noise multiplier")
    event, delta = plan.kind.event, privacy.delta
    if delta is None or not isinstance(event, GaussianEvent):
        raise UnsafeParameters(
            'a plan with privacy.noise = "none" has no budget: its epsilon is infinite',
            hint='choose privacy.noise = "site", "distributed" or "central"',
        )
    whole, each = cost_for(plan, privacy.unit, Patient()), replace(event, count=plan.kind.releases_per_round)
    working_on("other accountants")
    if whole.together == 0:
        raise UnsafeParameters(
            "a record is drawn so rarely that delta alone covers it: epsilon is 0, whatever delta loses",
            hint="choose a smaller privacy.delta, or a larger training.sample_rate",
        )
    accountants = _accountants(event, delta)
    working_on("epsilon round by round")
    series = epsilon_by_round(each, rounds, delta)
    working_on("patients and sites")
    records = privacy.records_per_patient or 1
    people = {str(sites): promised(cost_for(plan, "patient", Patient(records, sites))) for sites in SITES}
    return {
        "noise_multiplier": event.noise_multiplier,
        "epsilon": whole.each[0],
        "delta": delta,
        "unit": privacy.unit,
        "sample_rate": event.sample_rate,
        "steps": event.count,
        **folds_facts(plan),
        **_whole(plan, whole, people),
        **of_two(plan),
        **excess_facts(plan, planned_cohort(plan)),
        "accountant": accountant([event], delta),
        "accountants": accountants,
        "rounds": [{"round": number, "epsilon": spent} for number, spent in series.items()],
        "patient_at_sites": {sites: finite(spent.each[0]) for sites, spent in people.items()},
        "units": exposure(plan, planned_cohort(plan)),
        "filter": _filter(
            [charge.event for charge in plan.charges], Limit(plan.privacy.unit, Budget(whole.together, delta))
        ),
    }


def _accountants(event: GaussianEvent, delta: float) -> dict[str, float | None]:
    """Epsilon by three accountants: "pld", None where it would take too long; "rdp"; "audit", the auditor's own.

    Each is an upper bound. Opacus's is left to the report of a run: to import it takes as long as all the rest.
    """
    by_grid = accountant([event], delta) in (EXACT, COARSE)
    mechanism = Mechanism(event.noise_multiplier, event.sample_rate, event.count, event.group)
    return {
        "pld": epsilon([event], delta) if by_grid else None,
        "rdp": rdp_epsilon([event], delta),
        "audit": finite(recount([mechanism], delta).upper),
    }


def _whole(plan: Plan, whole: Cost, people: dict[str, Cost]) -> dict[str, Any]:
    """What the training means in risk; and what the evaluation adds, where the plan publishes one."""
    facts = with_risk(whole, plan, plan.privacy.unit, Patient())
    if plan.figures is None:
        return {"risk": facts["risk"]}
    return {
        "risk": facts["risk"],
        "evaluation": {**facts["evaluation"], "noise_multiplier": plan.figures.noise_multiplier},
        "together": {
            **facts["together"],
            "patient_at_sites": {sites: finite(spent.together) for sites, spent in people.items()},
        },
    }


def _filter(events: list[Event], limit: Limit) -> dict[str, Any]:
    """The plan's load under a limit of exactly this plan, and the limit above which more plans may follow."""
    rule, budget = limit.frozen(events[0]), limit.budget
    load, capacity = rule.load(events, budget), rule.capacity(budget)
    room = budget.epsilon + max(0.0, load - 1) * capacity
    return {**rule.to_json(), "load": finite(load), "room_from": finite(room)}
