"""The story of a simulation: which site is lost when, decided by a public seed before anything is trained.

What befalls a site in a round follows from the seed, the round, and the site's place among all sites of the run,
and from nothing else: not from params, cohorts, engines, or from what an earlier process played. So a run that is
resumed goes on in the same story, and another engine plays the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.mechanism.noise import Stream
from privacy.wire import Writer, digest
from simulations.faults.rules import Faults

_WORDS = 2  # of a site in a round: what befalls it, and how late it is
_KEPT = 64  # rounds
_FRACTION = 2.0**-53


class Fate(Enum):
    """What befalls a site in a round."""

    FINE = "takes part"
    AWAY = "is away"
    DROPPED = "is lost before its update arrives"
    RESTARTED = "is lost before its update arrives, and away afterwards"
    VOTED = "is lost after its update arrived"


@dataclass(frozen=True)
class Absences:
    """Of some sites in a round: who is away, who is lost on the way, and by how many seconds updates are late."""

    away: frozenset[str]
    before_upload: frozenset[str]
    after_vote: frozenset[str]
    late: dict[str, float]


@dataclass(frozen=True)
class Story:
    """What befalls the `sites` of a run of so many rounds. After the last round all of them are there."""

    faults: Faults
    sites: tuple[str, ...]
    rounds: int
    _places: dict[str, int] = field(init=False, repr=False, compare=False)

    @classmethod
    def about(cls, faults: Faults, sites: Iterable[str], rounds: int) -> Story:
        """The story of these sites, whatever their order."""
        return cls(faults, tuple(sorted(sites)), rounds)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {site: place for place, site in enumerate(self.sites)})

    def of(self, number: int, cohort: Sequence[str]) -> Absences:
        """What befalls a cohort in round `number`."""
        fates = {site: self.fate(site, number) for site in cohort}

        def those(*kinds: Fate) -> frozenset[str]:
            return frozenset(site for site, fate in fates.items() if fate in kinds)

        late = {site: seconds for site in cohort if (seconds := self.delay(site, number))}
        dropped = those(Fate.DROPPED, Fate.RESTARTED)
        return Absences(those(Fate.AWAY), dropped, those(Fate.VOTED), late)

    def fate(self, site: str, number: int) -> Fate:
        """What befalls a site in round `number`."""
        return _FATES[int(self._round(number).fates[self._places[site]])]

    def delay(self, site: str, number: int) -> float:
        """By how many seconds the update of a site is late."""
        return float(self._round(number).delays[self._places[site]])

    def has_joined(self, site: str, number: int) -> bool:
        """Whether a site has joined by round `number`."""
        return number > int(_joins(self.faults, len(self.sites))[self._places[site]]) or number > self.rounds

    def is_there(self, site: str, number: int) -> bool:
        """Whether a site has joined by round `number`, and is not away when it begins."""
        return self.fate(site, number) is not Fate.AWAY

    def _round(self, number: int) -> _Round:
        return _round(self.faults, len(self.sites), self.rounds, number)


@dataclass(frozen=True)
class _Round:
    fates: NDArray[np.int8]
    delays: NDArray[np.float64]


_FATES = tuple(Fate)
_CODES = {fate: code for code, fate in enumerate(_FATES)}


@lru_cache(maxsize=_KEPT)
def _round(faults: Faults, sites: int, rounds: int, number: int) -> _Round:
    if not 1 <= number <= rounds:
        return _Round(np.zeros(sites, np.int8), np.zeros(sites))
    chances = [faults.dropouts, faults.after_vote, faults.restarts, faults.stragglers]
    lots = _lots(faults, "round", number, sites)
    kinds = np.searchsorted(np.cumsum(chances), lots[0], side="right")
    fates = np.zeros(sites, np.int8)
    for kind, fate in enumerate((Fate.DROPPED, Fate.VOTED, Fate.RESTARTED)):
        fates[kinds == kind] = _CODES[fate]
    delays = np.where(kinds == 3, lots[1] * faults.delay_seconds, 0.0)
    away = number <= _joins(faults, sites)
    for earlier in range(max(1, number - faults.away_rounds), number) if faults.restarts else ():
        away |= _restarts(faults, sites, earlier)
    fates[away], delays[away] = _CODES[Fate.AWAY], 0.0
    return _Round(fates, delays)


def _restarts(faults: Faults, sites: int, number: int) -> NDArray[np.bool_]:
    """Whom a restart meets in a round, whether they are there or not: so each round is known by itself."""
    low = faults.dropouts + faults.after_vote
    lots = _lots(faults, "round", number, sites)[0]
    found: NDArray[np.bool_] = (low <= lots) & (lots < low + faults.restarts)
    return found


@lru_cache(maxsize=_KEPT)
def _joins(faults: Faults, sites: int) -> NDArray[np.int64]:
    """The rounds for which each site is not there yet."""
    lots = _lots(faults, "late", 0, sites)
    rounds = 1 + (lots[1] * faults.late_rounds).astype(np.int64)
    return np.where(lots[0] < faults.late, rounds, 0)


def _lots(faults: Faults, what: str, number: int, sites: int) -> NDArray[np.float64]:
    """Fractions (2, sites), even in [0, 1)."""
    key = digest("simulations/faults/1", Writer().u64(faults.seed).text(what).u32(number).finish())
    words = Stream(key).words(_WORDS * sites).reshape(sites, _WORDS).T
    return (words >> np.uint64(11)).astype(np.float64) * _FRACTION
