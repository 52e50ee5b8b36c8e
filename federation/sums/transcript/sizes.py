"""Whether a run keeps the transcripts of its rounds, and how much room they take: by public numbers alone.

The coordinator goes by this rule, and an auditor by the same one: a transcript that is due and missing is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from federation.plan.plan import Plan
from federation.round.cohort import parties_of, stand_ins
from privacy.errors import PrivacyError
from privacy.secagg.ring import packed_size

GIGABYTE = 10**9
MAX_GIGABYTES = 10.0  # unless the plan says transcripts_max
CENTRAL = 'noise = "central": sum not verifiable, as a transcript would show it without its noise'
GROUPS = "a transcript holds one sum of a round, and groups make several"
UNMASKED = "the engine added them up in one process: nothing was masked, and no site signed anything"
_WIDEST = 62  # bits of a ring
_SITE, _PAIR = 2 << 10, 1 << 8  # of a site, and of two: what stands beside the vectors, at most


@dataclass(frozen=True)
class Room:
    """What transcripts take: of one round with everybody in it, and of the whole run. In bytes, rounded up."""

    sites: int
    each: int
    whole: int


def room(plan: Plan, sizes: Iterable[int], dimension: int) -> Room:
    """The room for a run over sites of these declared sizes, if the largest of them are in every round."""
    declared = sorted(sizes, reverse=True)
    most = plan.cohort.size if isinstance(plan.cohort.size, int) else len(declared)
    cohort = declared[:most]
    count = len(cohort)
    vector = _vector(plan, cohort, dimension)
    each = (count + 1) * vector + count * _SITE + count * count * _PAIR
    return Room(count, each, each * plan.federation.rounds + 4 * dimension)


def left_out(plan: Plan, sizes: Iterable[int], dimension: int) -> str:
    """Why a run over sites of these declared sizes keeps no transcripts; "" if it keeps them."""
    rules = plan.secure_aggregation
    if plan.privacy.noise == "central":
        return CENTRAL
    if rules.groups is not None:
        return GROUPS
    if rules.transcripts is False:
        return "the plan says transcripts = false"
    most, needed = rules.transcripts_max or MAX_GIGABYTES, room(plan, sizes, dimension).whole / GIGABYTE
    if needed > most:
        return f"they would take {needed:.3g} GB, and transcripts_max is {most:g}"
    return ""


def facts(plan: Plan, sites: int, dimension: int) -> Mapping[str, object]:
    """For people who check a plan: the room for so many equal sites, and whether transcripts are kept."""
    sizes = [1] * sites
    taken, why = room(plan, sizes, dimension), left_out(plan, sizes, dimension)
    return {
        "sites": taken.sites,
        "bytes_per_round": taken.each,
        "bytes": taken.whole,
        "kept": f"no: {why}" if why else "yes",
    }


def _vector(plan: Plan, sizes: list[int], dimension: int) -> int:
    """Bytes of one packed vector."""
    try:
        parties = parties_of(plan, dict(zip(stand_ins(len(sizes)), sizes, strict=True)), dimension)
        return packed_size(plan.kind.length(parties), plan.kind.codec(parties).ring_bits)
    except PrivacyError:  # so many sites could not form a round, but fewer may
        return packed_size(dimension, _WIDEST)
