"""Excess noise: what colluders and dropouts cost a plan whose noise is distributed.

Each site adds a share of the noise. The guarantee counts on the shares that are left when as many sites as planned
drop out, and when the colluders have told theirs: those shares alone are what epsilon needs. In a round in which
nobody drops all shares are in the sum, and it has more noise than that. What is there for dropouts that did not
come is taken out again (`privacy.mechanism.excess`), unless the plan says `excess_levels = 0`; what is there for
colluders stays.

Example: 5 sites, 1 colluder, 1 dropout. Three shares are enough, five are in the sum, and its standard deviation
would be sqrt(5 / 3) = 1.29 times what epsilon needs. With a fourth of each share taken out it is 1.12 times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from federation.kinds.base import Parties
from federation.plan.plan import Plan
from federation.round.cohort import parties_of, stand_ins
from federation.round.groups import smallest_sum

_ONE_SOURCE = {
    "site": "every site adds all of its noise by itself: no share can be missing",
    "central": "the server adds all of the noise: no share can be missing",
}


def planned_cohort(plan: Plan, sites: int | None = None) -> int:
    """The size of a cohort of so many `sites`, as the plan asks for it; its minimum while their number is open."""
    size, rate, least = plan.cohort.size, plan.cohort.sample_rate, plan.cohort.minimum
    if isinstance(size, int) or sites is None:
        return size if isinstance(size, int) else least
    return max(least, sites if rate is None else round(rate * sites))


def noise_excess(plan: Plan, sites: int, lost: int = 0) -> float:
    """Standard deviation of the noise on a sum of `sites` sites of which so many are lost, over what epsilon needs.

    By the plan's own kind and by the terms of a round: the same noise that sites draw and the server knows.
    UnsafeParameters for a plan without privacy, or for so few sites that no round could be agreed on.
    """
    return plan.kind.noise_excess(_parties(plan, sites), lost)


def excess_facts(plan: Plan, sites: int) -> dict[str, Any]:
    """`noise_excess`, and what it would be with no dropouts, no colluders or neither, as plain data.

    Of a cohort of so many sites; where it is cut into groups, of the smallest of them. `levels`: by how many sites
    may be lost before more noise is left, the most that is left until then.
    """
    asked, sites = plan.secure_aggregation, smallest_sum(plan, sites)
    facts: dict[str, Any] = {"noise_excess": noise_excess(plan, sites)}
    if plan.privacy.noise != "distributed":
        return {**facts, "noise_excess_why": _ONE_SOURCE[plan.privacy.noise]}
    choices = [
        (asked.dropouts, asked.colluders), (0, asked.colluders), (asked.dropouts, 0), (0, 0),
    ]  # fmt: skip
    rows = [_row(plan, sites, *choice) for choice in dict.fromkeys(choices)]
    return {**facts, "noise_excess_of": {"sites": sites, "choices": rows, "levels": _levels(plan, sites)}}


def _levels(plan: Plan, sites: int) -> list[Mapping[str, Any]]:
    lost = _parties(plan, sites).lost
    fewest = (0, *(most + 1 for most in lost))  # of a level: with these the most shares are in the sum
    return [
        {"lost": most, "noise_excess": noise_excess(plan, sites, least)}
        for least, most in zip(fewest, lost, strict=False)
    ]


def _row(plan: Plan, sites: int, dropouts: int, colluders: int) -> Mapping[str, Any]:
    asked = plan.secure_aggregation.model_copy(update={"dropouts": dropouts, "colluders": colluders})
    other = plan.model_copy(update={"secure_aggregation": asked})
    return {"dropouts": dropouts, "colluders": colluders, "noise_excess": noise_excess(other, sites)}


def _parties(plan: Plan, sites: int) -> Parties:
    return parties_of(plan, dict.fromkeys(stand_ins(sites), 1), 1)
