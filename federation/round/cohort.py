"""The cohort of a round, sampled from the plan's public seed, and how many of it must answer to the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from federation.config.tables import DEFAULT_LEVELS, SMALLEST
from federation.errors import RosterError
from federation.kinds.base import Parties
from federation.plan.plan import Plan
from federation.round.messages import Member
from federation.words import many
from privacy.errors import UnsafeParameters
from privacy.mechanism.excess import levels_between
from privacy.mechanism.noise import Stream, poisson_sample
from privacy.secagg.parameters import Parameters
from privacy.wire import Writer, digest

_DRAWS = 1000  # a cohort below the minimum is drawn again, this often at most


def sample(
    plan: Plan, roster: Sequence[Member], round_number: int, out: AbstractSet[str] = frozenset()
) -> tuple[Member, ...]:
    """The members of one round, in the order of their ids, without the sites in `out`.

    What is drawn for a site does not depend on who is left out: where a cohort has a fixed size, the next in the
    draw fill it up; else it is smaller, or drawn again where it were below the minimum. The plan claims no privacy
    from this choice, since the server sees the cohort; the stream is only reproducible. RosterError if two sites
    share an id, or fewer sites than the plan's minimum would take part.
    """
    members = sorted(roster, key=lambda member: member.site)
    if len({member.site for member in members}) != len(members):
        raise RosterError("two sites share one id", hint="give every site an id of its own")
    away = [place for place, member in enumerate(members) if member.site in out] if out else []
    return tuple(members[place] for place in sample_places(plan, len(members), round_number, away))


def sample_places(plan: Plan, count: int, round_number: int, away: Sequence[int] = ()) -> list[int]:
    """`sample` of so many sites of which none is looked at: places by their ids, without those `away`."""
    here = np.ones(count, bool)
    here[list(away)] = False
    left = int(here.sum())
    if left < plan.cohort.minimum:
        raise RosterError(
            f"{many(left, 'site')}, cohort.minimum is {plan.cohort.minimum}",
            hint="wait for more sites or lower it",
        )
    for draw in range(_DRAWS):
        drawn = _choose(plan, here, round_number, draw)
        if len(drawn) >= plan.cohort.minimum:
            return [int(place) for place in drawn]
    raise RosterError(
        f"no cohort of round {round_number} reaches cohort.minimum = {plan.cohort.minimum}",
        hint="raise cohort.sample_rate",
    )


def _choose(plan: Plan, here: NDArray[np.bool_], round_number: int, draw: int) -> NDArray[np.int64]:
    """The places that one draw gives, ascending, of the sites that are `here`."""
    place = Writer().u64(plan.federation.seed).u32(round_number).u32(draw).finish()
    stream = Stream(digest("federation/cohort/1", place))
    if plan.cohort.sample_rate is not None:
        drawn = poisson_sample(stream, len(here), plan.cohort.sample_rate)
        return drawn[here[drawn]]
    left = np.flatnonzero(here)
    if plan.cohort.size in ("all", None):
        return left
    size = int(plan.cohort.size)
    lots = stream.words(len(here))
    if size > len(left):
        reason = f"cohort.size is {size}, only {len(left)} sites are here"
        raise RosterError(reason, hint="lower cohort.size")
    lowest = left[np.argsort(lots[left], kind="stable")[:size]]  # of equal lots the first in order
    return np.sort(lowest)


def required_survivors(plan: Plan, cohort: int) -> int:
    """How many of `cohort` sites must answer to the end. UnsafeParameters if the cohort is too small to hide in."""
    return _rules(plan, cohort).required


def noise_levels(plan: Plan, cohort: int) -> tuple[int, ...]:
    """For which numbers of lost sites, ascending, less noise can be left in a sum of `cohort`; () for none.

    Of groups nothing is taken out (decision 21). On a ring of neighbors neither: that a site's excess is opened for
    one set only is proven for the complete graph. UnsafeParameters where the plan asks for it there.
    """
    asked, rules = plan.secure_aggregation.excess_levels, _rules(plan, cohort)
    if plan.privacy.noise != "distributed" or rules.tolerated == 0 or asked == 0:
        return ()
    if plan.secure_aggregation.groups is not None:
        return ()
    if shares_along_ring(plan, cohort):
        if asked is None:
            return ()
        place = plan.place("secure_aggregation", "excess_levels")
        reason = f"{place}: a cohort of {cohort} sites takes no excess noise out"
        raise UnsafeParameters(reason, hint="set it to 0, or sample a smaller cohort")
    return levels_between(rules.tolerated, DEFAULT_LEVELS if asked is None else asked)


def parties_of(plan: Plan, sizes: Mapping[str, int], dimension: int) -> Parties:
    """The public facts of a cohort with these declared sizes."""
    required, lost = required_survivors(plan, len(sizes)), noise_levels(plan, len(sizes))
    return Parties(sizes, required, dimension, lost)


def shares_along_ring(plan: Plan, cohort: int) -> bool:
    """Whether a site of so many shares secrets with its neighbors on a ring only, rather than with all others."""
    return _rules(plan, cohort).is_ring


def stand_ins(count: int) -> tuple[str, ...]:
    """Ids in order for so many sites of whom nothing but the number matters."""
    return tuple(f"{slot:05d}" for slot in range(count))


def _rules(plan: Plan, cohort: int) -> Parameters:
    asked = plan.secure_aggregation
    if cohort == SMALLEST and not plan.is_of_two:
        raise UnsafeParameters(
            "a cohort of two sites, each of which would see the other's part of the sum",
            hint="wait for more sites",
        )
    return Parameters.choose(
        stand_ins(cohort), colluders=asked.colluders, dropouts=asked.dropouts, ring_bits=32, length=1
    )
