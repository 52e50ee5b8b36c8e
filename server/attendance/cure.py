"""What would have let a round go on that lost too many sites: a key of the plan, and the number to write there."""

from __future__ import annotations

from federation.plan.plan import Plan
from federation.round.cohort import required_survivors
from federation.round.groups import smallest_sum
from federation.words import many
from privacy.errors import UnsafeParameters


def cure(plan: Plan, cohort: int, lost: int) -> str:
    """In words, where `lost` of a `cohort` fell silent; of groups the smallest is spoken of."""
    sites = smallest_sum(plan, cohort)
    bears, most = _bears(plan, sites, plan.secure_aggregation.dropouts), _bears(plan, sites, sites)
    slow = f"cohort.deadline_seconds (now {plan.cohort.deadline_seconds:g}) if they are slow"
    if lost <= bears:
        return f"raise {slow}"
    told = f"a sum of {many(sites, 'site')} bears {bears} lost, and {lost} were"
    if lost <= most:
        now = plan.secure_aggregation.dropouts
        return f"{told}: set secure_aggregation.dropouts to {lost} (now {now}), or raise {slow}"
    if most > bears:
        return f"{told}; with secure_aggregation.dropouts = {most} it bears {most}; or raise {slow}"
    return f"{told}; under no plan it bears more: have more sites, or raise {slow}"


def _bears(plan: Plan, sites: int, dropouts: int) -> int:
    """How many of so many sites may be lost under a plan with so many dropouts."""
    asked = plan.secure_aggregation.model_copy(update={"dropouts": dropouts})
    try:
        return sites - required_survivors(plan.model_copy(update={"secure_aggregation": asked}), sites)
    except UnsafeParameters:
        return 0
