"""The privacy budget of a plan, without training: noise, epsilon round by round, patients at several sites."""

from __future__ import annotations

from typing import Any

from federation.claim import planned_event
from federation.plan import Plan
from privacy.accountant import cross_check, epsilon, epsilon_by_round
from privacy.errors import UnsafeParameters
from privacy.events import GaussianEvent
from privacy.patients import epsilon_at_sites

SITES = (1, 2, 3)


def budget_of(plan: Plan) -> dict[str, Any]:
    """The content of `federation budget PLAN --json`."""
    event, delta = planned_event(plan), plan.privacy.delta
    if delta is None or not isinstance(event, GaussianEvent):
        raise UnsafeParameters(
            'a plan with privacy.noise = "none" has no budget: its epsilon is infinite',
            hint='choose privacy.noise = "site", "distributed" or "central"',
        )
    whole, rounds = epsilon([event], delta), plan.federation.rounds
    each = GaussianEvent(event.noise_multiplier, event.sample_rate, plan.steps // rounds)
    summed = plan.privacy.noise != "site"
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
            str(sites): epsilon_at_sites(event, sites, delta, summed=summed) for sites in SITES
        },
    }
