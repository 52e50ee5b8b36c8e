"""Excess noise: what colluders and dropouts cost a plan whose noise is distributed.

Each site adds a share of the noise. The guarantee counts on the shares that are left when as many sites as planned
drop out, and when the colluders have told theirs: those shares alone are what epsilon needs. In a round in which
nobody drops all shares are in the sum, and it has more noise than that. The price of a dropout that never comes is
paid in every round, and nobody sees it in epsilon.

Example: 5 sites, 1 colluder, 1 dropout. Three shares are enough, five are in the sum, and its standard deviation is
sqrt(5 / 3) = 1.29 times what epsilon needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.kinds.base import Parties
from federation.plan.plan import Plan
from federation.round.cohort import required_survivors

_ONE_SOURCE = {
    "site": "every site adds all of its noise by itself: no share can be missing",
    "central": "the server adds all of the noise: no share can be missing",
}


def planned_cohort(plan: Plan) -> int:
    """The size of the cohort that the plan asks for, or its minimum while the size is open."""
    size = plan.cohort.size
    return size if isinstance(size, int) else plan.cohort.minimum


def noise_excess(plan: Plan, sites: int) -> float:
    """Standard deviation of the noise on a sum of `sites` sites in which nobody drops, over what epsilon needs.

    By the plan's own kind and by the terms of a round: the same noise that sites draw and the server knows.
    UnsafeParameters for a plan without privacy, or for so few sites that no round could be agreed on.
    """
    return plan.kind.noise_excess(
        Parties(dict.fromkeys(_names(sites), 1), required_survivors(plan, sites), 1)
    )


def excess_facts(plan: Plan, sites: int) -> dict[str, Any]:
    """`noise_excess`, and what it would be with no dropouts, no colluders or neither, as plain data."""
    asked = plan.secure_aggregation
    facts: dict[str, Any] = {"noise_excess": noise_excess(plan, sites)}
    if plan.privacy.noise != "distributed":
        return {**facts, "noise_excess_why": _ONE_SOURCE[plan.privacy.noise]}
    choices = [
        (asked.dropouts, asked.colluders), (0, asked.colluders), (asked.dropouts, 0), (0, 0),
    ]  # fmt: skip
    rows = [_row(plan, sites, *choice) for choice in dict.fromkeys(choices)]
    return {**facts, "noise_excess_of": {"sites": sites, "choices": rows}}


def _row(plan: Plan, sites: int, dropouts: int, colluders: int) -> Mapping[str, Any]:
    asked = plan.secure_aggregation.model_copy(update={"dropouts": dropouts, "colluders": colluders})
    other = plan.model_copy(update={"secure_aggregation": asked})
    return {"dropouts": dropouts, "colluders": colluders, "noise_excess": noise_excess(other, sites)}


def _names(sites: int) -> list[str]:
    return [f"{slot:05d}" for slot in range(sites)]
