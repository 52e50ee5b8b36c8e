"""The privacy budget of a plan, without training: noise, epsilon round by round, patients at several sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from federation.plan.guarantee import epsilon_for, exposure
from federation.plan.plan import Plan
from privacy.accounting.bounds import Mechanism, recount
from privacy.accounting.events import GaussianEvent
from privacy.accounting.filters import Budget, Filter
from privacy.accounting.pld import COARSE, EXACT, accountant, epsilon, epsilon_by_round, rdp_epsilon
from privacy.accounting.units import Patient
from privacy.canonical import finite
from privacy.errors import UnsafeParameters

SITES = (1, 2, 3)


def budget_of(plan: Plan, working_on: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """The content of `federation budget PLAN --json`. `working_on` is told each part before it takes its time."""
    privacy, rounds = plan.privacy, plan.federation.rounds
    working_on("the noise multiplier")
    event, delta = plan.kind.event, privacy.delta
    if delta is None or not isinstance(event, GaussianEvent):
        raise UnsafeParameters(
            'a plan with privacy.noise = "none" has no budget: its epsilon is infinite',
            hint='choose privacy.noise = "site", "distributed" or "central"',
        )
    whole, each = epsilon([event], delta), replace(event, count=event.count // rounds)
    working_on("other accountants")
    accountants = _accountants(event, delta)
    working_on("epsilon round by round")
    series = epsilon_by_round(each, rounds, delta)
    working_on("patients and sites")
    budget, records = Budget(whole, delta), privacy.records_per_patient or 1
    return {
        "noise_multiplier": event.noise_multiplier,
        "epsilon": whole,
        "delta": delta,
        "unit": privacy.unit,
        "sample_rate": event.sample_rate,
        "steps": event.count,
        "accountant": accountant([event], delta),
        "accountants": accountants,
        "rounds": [{"round": number, "epsilon": spent} for number, spent in series.items()],
        "patient_at_sites": {
            str(sites): finite(epsilon_for(plan, "patient", Patient(records, sites))) for sites in SITES
        },
        "units": exposure(plan, _sites(plan)),
        "filter": _filter(Filter.frozen(budget, event), event, budget),
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


def _filter(rule: Filter, event: GaussianEvent, budget: Budget) -> dict[str, Any]:
    """The plan's load under a limit of exactly this plan, and the limit above which more plans may follow."""
    load, capacity = rule.load([event], budget), rule.capacity(budget)
    room = budget.epsilon + max(0.0, load - 1) * capacity
    return {**rule.to_json(), "load": finite(load), "room_from": finite(room)}


def _sites(plan: Plan) -> int:
    """The size of the cohort that the plan asks for, or its minimum while the size is open."""
    size = plan.cohort.size
    return size if isinstance(size, int) else plan.cohort.minimum
