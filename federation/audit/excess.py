"""Recounts what a report says of the noise beyond what epsilon needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.audit.receipts import Receipts
from federation.audit.recounting import excess_levels, left_over_counted
from federation.plan.plan import Plan
from federation.round.groups import smallest_sum


def told_excess(plan: Plan, receipts: Receipts, told: Mapping[str, Any]) -> dict[str, Any]:
    """How much more noise than epsilon needs is left in the smallest cohort, as a report has to tell it.

    `told` is what the report says of privacy. One of an earlier version names no levels: nothing was taken out.
    """
    if not plan.is_private or plan.privacy.noise != "distributed":
        return {"noise_excess": 1.0} if plan.is_private else {}
    of = told.get("noise_excess_of")
    is_older = isinstance(of, Mapping) and "levels" not in of
    plan = _with(plan, excess_levels=0) if is_older else plan
    sites = min((len(line.cohort) for line in receipts.rounds.values()), default=plan.cohort.minimum)
    sites, asked = smallest_sum(plan, sites), plan.secure_aggregation
    choices = dict.fromkeys((d, c) for c in (asked.colluders, 0) for d in (asked.dropouts, 0))
    rows = [
        {
            "dropouts": dropouts,
            "colluders": colluders,
            "noise_excess": left_over_counted(_with(plan, dropouts=dropouts, colluders=colluders), sites),
        }
        for dropouts, colluders in choices
    ]
    levels = {} if is_older else {"levels": _levels(plan, sites)}
    return {
        "noise_excess": left_over_counted(plan, sites),
        "noise_excess_of": {"sites": sites, "choices": rows, **levels},
    }


def _levels(plan: Plan, sites: int) -> list[dict[str, Any]]:
    """For each level the most that is left: where one more is lost than the level before is for."""
    levels = excess_levels(plan, sites)
    if len(levels) == 1:
        return []
    fewest = [0, *(most + 1 for most in levels[:-1])]
    return [
        {"lost": most, "noise_excess": left_over_counted(plan, sites, least)}
        for least, most in zip(fewest, levels, strict=True)
    ]


def _with(plan: Plan, **changes: int) -> Plan:
    asked = plan.secure_aggregation.model_copy(update=changes)
    return plan.model_copy(update={"secure_aggregation": asked})
