"""Groups: a cohort cut into disjoint parts, each with a secure sum of its own, so that a bad site spoils one of
many.

The partition follows from the plan's seed, the round and the cohort: every party knows it before keys are
exchanged. Nobody has to believe in chance: each group meets every floor with all colluders in it, whoever they are
(docs/decisions/0021), so a server that looked for the partition that suits it best would gain nothing. Another
attempt at a round, with the same cohort, has the same groups; with another cohort it is another question, which a
site that was charged refuses.

Without noise the groups of a run are those of its first round. Sums over groups that change from round to round
would be equations for single updates, which change little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set

from federation.plan.plan import Plan
from federation.round.cohort import parties_of, required_survivors, stand_ins
from privacy.secagg.graph import permutation
from privacy.wire import Writer, digest


def partition(plan: Plan, round_number: int, cohort: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The groups of a round, each in order of id: as many as the plan asks for, of sizes that differ by one at
    most.

    `cohort` is in order of id. Its slots are permuted (docs/protocol.md, section 3) and cut, the larger groups
    first.
    """
    place = Writer().u64(plan.federation.seed).u32(round_number if plan.is_private else 0).u32(len(cohort))
    for name in cohort:
        place.text(name)
    order = permutation(len(cohort), digest("federation/groups/1", place.finish()))
    parts, begin = [], 0
    for size in group_sizes(len(cohort), plan.secure_aggregation.groups or 1):
        parts.append(tuple(cohort[slot] for slot in sorted(order[begin : begin + size])))
        begin += size
    return tuple(parts)


def sums_of(plan: Plan, round_number: int, cohort: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The sites behind each sum of a round. An evaluation is one sum over all."""
    if plan.secure_aggregation.groups is None or round_number > plan.federation.rounds:
        return (tuple(cohort),)
    return partition(plan, round_number, cohort)


def can_sum(plan: Plan, round_number: int, cohort: Sequence[str], here: Set[str]) -> bool:
    """Whether enough of a cohort are here for each sum of a round."""
    parts = sums_of(plan, round_number, cohort)
    return all(len(here & set(part)) >= required_survivors(plan, len(part)) for part in parts)


def may_differ(plan: Plan) -> int | None:
    """By how many sites a cohort may differ from the first one of its run; None for any number.

    Without noise two sums, one with a site in it and one without, differ by that site's update. A plan that samples
    its cohorts says that they differ; one that takes all sites says that only `dropouts` of them may be missing. Of
    groups none may: all groups would be others, and each of their sums one more equation for single updates.
    """
    if plan.is_private or plan.cohort.sample_rate is not None or plan.cohort.size not in ("all", None):
        return None
    return 0 if plan.secure_aggregation.groups is not None else plan.secure_aggregation.dropouts


def group_sizes(sites: int, groups: int) -> tuple[int, ...]:
    """How many of so many sites are in each group, the larger groups first.

    >>> group_sizes(20, 4), group_sizes(11, 3)
    ((5, 5, 5, 5), (4, 4, 3))
    """
    small, more = divmod(sites, groups)
    return (small + 1,) * more + (small,) * (groups - more)


def smallest_sum(plan: Plan, sites: int) -> int:
    """How many sites of a cohort stand behind the smallest sum that is opened of it."""
    return sites // (plan.secure_aggregation.groups or 1)


def noise_factor(plan: Plan, sites: int) -> float:
    """Standard deviation of the noise on the mean of the groups' means, over that on one mean of all sites.

    For sites of one size, if none drops out. 1 without groups, and where every site adds all of the noise itself.
    """
    asked = plan.secure_aggregation
    parts = [_variance(plan, size) for size in group_sizes(sites, asked.groups or 1)]
    whole = plan.model_copy(update={"secure_aggregation": asked.model_copy(update={"groups": None})})
    return math.sqrt(math.fsum(parts) / len(parts) ** 2 / _variance(whole, sites))


def _variance(plan: Plan, sites: int) -> float:
    """The variance of the noise on the mean of one sum over so many sites, less what is taken out of it."""
    names = stand_ins(sites)
    parties = parties_of(plan, dict.fromkeys(names, 1), 1)
    return plan.kind.noise_variance(parties, names, sites if len(parties.lost) > 1 else 0)
