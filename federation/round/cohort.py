"""The cohort of a round, sampled from the plan's public seed, and how many of it must answer to the end."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from federation.errors import RosterError
from federation.plan.plan import Plan
from federation.round.messages import Member
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
    here = sum(member.site not in out for member in members)
    if here < plan.cohort.minimum:
        raise RosterError(
            f"{here} sites, cohort.minimum is {plan.cohort.minimum}",
            hint="wait for more sites or lower it",
        )
    for draw in range(_DRAWS):
        drawn = _choose(plan, members, round_number, draw, out)
        chosen = tuple(member for member in drawn if member.site not in out)
        if len(chosen) >= plan.cohort.minimum:
            return chosen
    raise RosterError(
        f"no cohort of round {round_number} reaches cohort.minimum = {plan.cohort.minimum}",
        hint="raise cohort.sample_rate",
    )


def _choose(
    plan: Plan, members: list[Member], round_number: int, draw: int, out: AbstractSet[str]
) -> list[Member]:
    place = Writer().u64(plan.federation.seed).u32(round_number).u32(draw).finish()
    stream = Stream(digest("federation/cohort/1", place))
    if plan.cohort.sample_rate is not None:
        drawn = poisson_sample(stream, len(members), plan.cohort.sample_rate)
        return [members[int(index)] for index in drawn]
    if plan.cohort.size in ("all", None):
        return members
    size = int(plan.cohort.size)
    lots = stream.words(len(members))
    here = [index for index, member in enumerate(members) if member.site not in out]
    if size > len(here):
        reason = f"cohort.size is {size}, only {len(here)} sites are here"
        raise RosterError(reason, hint="lower cohort.size")
    lowest = sorted(here, key=lambda index: (int(lots[index]), index))[:size]
    return [members[index] for index in sorted(lowest)]


def required_survivors(plan: Plan, cohort: int) -> int:
    """How many of `cohort` sites must answer to the end. UnsafeParameters if the cohort is too small to hide in."""
    names = tuple(f"{index:05d}" for index in range(cohort))
    asked = plan.secure_aggregation
    rules = Parameters.choose(
        names, colluders=asked.colluders, dropouts=asked.dropouts, ring_bits=32, length=1
    )
    return rules.required
