"""Merged events: what the accountants compose, equal mechanisms counted together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from privacy.accounting.events import Event, GaussianEvent, NonPrivateEvent, ReplacedEvent
from privacy.errors import UnsupportedEvent


class Mechanism(NamedTuple):
    """One release. If `replaced`, two: one with a unit removed and one with a unit added, at this noise each."""

    noise_multiplier: float
    sample_rate: float
    group: int = 1
    replaced: bool = False

    @property
    def releases(self) -> int:
        """How many releases it is."""
        return 1 + self.replaced

    @property
    def unsampled_square(self) -> float:
        """mu^2 with the sampling left out, which never makes it less private than it is."""
        return self.releases * (self.group / self.noise_multiplier) ** 2


Merged: TypeAlias = tuple[tuple[Mechanism, int], ...]  # with the number of times, each mechanism once


def merge(events: Sequence[Event]) -> Merged | None:
    """Equal mechanisms counted together, in a fixed order; None if something was not private.

    UnsupportedEvent for what is no event.
    """
    counts: Counter[Mechanism] = Counter()
    for event in events:
        if isinstance(event, NonPrivateEvent):
            return None
        counts[mechanism_of(event)] += event.count
    return tuple((mechanism, count) for mechanism, count in sorted(counts.items()) if count)


def mechanism_of(event: Event) -> Mechanism:
    """One release of an event. UnsupportedEvent for what is none."""
    if not isinstance(event, GaussianEvent | ReplacedEvent):
        raise UnsupportedEvent("an event that the accountant does not know")
    z, rate, group, replaced = (
        event.noise_multiplier,
        event.sample_rate,
        event.group,
        isinstance(event, ReplacedEvent),
    )
    if rate == 1:  # a group of g is g times the sensitivity, and to replace is twice that
        return Mechanism(z / (2 * group if replaced else group), 1.0)
    return Mechanism(z / math.sqrt(2) if replaced else z, rate, group, replaced)


def mu_of(merged: Merged) -> float:
    """The mu of what is not sampled."""
    return math.sqrt(math.fsum(count * one.unsampled_square for one, count in merged if one.sample_rate == 1))


def releases_of(merged: Merged) -> int:
    """How many sampled releases there are in all."""
    return sum(count * one.releases for one, count in merged if one.sample_rate < 1)
