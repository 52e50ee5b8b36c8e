"""Who did not answer, or left a round, and when it is greeted again. A site that is away is not asked to a round.

A greeting waits for nobody: its answer is read whenever it comes, and the next cohort has the site again. Whoever
is lost time and again is greeted after ever longer pauses, so that a site which answers greetings and nothing else
cannot hold up every second round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

LONGEST: Final = 16
"""Rounds after which a site is greeted that was lost very often."""


@dataclass
class _Away:
    due: int  # the round from which on it is greeted
    greeted: float | None = None  # when it was greeted last


@dataclass
class Absence:
    """The sites of a run that are away, and how often each was lost lately."""

    _away: dict[str, _Away] = field(default_factory=dict)
    _losses: dict[str, int] = field(default_factory=dict)

    @property
    def away(self) -> tuple[str, ...]:
        """The sites that are away, those that were lost first at the front."""
        return tuple(self._away)

    def lost(self, site: str, number: int) -> None:
        """A site fell silent in round `number`, left it, or was started anew."""
        if site in self._away:
            return
        losses = self._losses[site] = self._losses.get(site, 0) + 1
        self._away[site] = _Away(number + min(LONGEST, (1 << (losses - 1)) - 1))

    def back(self, site: str) -> None:
        """A site answered a greeting."""
        self._away.pop(site, None)

    def stayed(self, site: str) -> None:
        """A site took part in a round to its end."""
        self.back(site)
        if losses := self._losses.pop(site, 1) - 1:
            self._losses[site] = losses

    def due(self, number: int, now: float, pause: float) -> list[str]:
        """Whom to greet in round `number`, and not again for `pause` seconds: they are noted as greeted `now`."""
        found = []
        for site, away in self._away.items():
            if away.due <= number and (away.greeted is None or now - away.greeted >= pause):
                away.greeted = now
                found.append(site)
        return sorted(found)
