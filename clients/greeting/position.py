"""How far an invitation may be from where a run is known to be.

What an invitation does is bounded first: it opens a round's keys beside the others and ends none. A round is over
for a site when a later one has begun there, that is, was charged, and of the open ones the `OPEN` that were asked
of last keep their keys. So the invitation of a far round kills nothing. Its number is bounded as well, so that it
means something: `rounds_ahead` of the last that began here, or that the newest greeting calls done, and
`ATTEMPTS_AHEAD` of the number from which that greeting counts. A coordinator that is further on than that greets
the site again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from federation.plan.plan import Plan
from federation.round.messages import Frame
from federation.round.signed import ATTEMPTS_AHEAD, PREPARED, rounds_ahead
from privacy.errors import FaultyServer

OPEN = 4  # rounds of which keys are kept at once: the present one, the next, and two by mistake


@dataclass(frozen=True)
class Position:
    """`done`, `attempts`: as the newest greeting said. `begun`: the last round that began here."""

    done: int = 0
    attempts: int = 0
    begun: int = 0

    def greeted(self, stands: tuple[int, int]) -> Position:
        """After another greeting: nothing goes back."""
        done, attempts = stands
        return replace(self, done=max(self.done, done), attempts=max(self.attempts, attempts))

    def began(self, number: int) -> Position:
        """A round began."""
        return replace(self, begun=max(self.begun, number))

    def tried(self, attempt: int) -> int:
        """The how-manieth try of its round an attempt is, as people count."""
        return max(1, attempt - self.attempts - PREPARED)

    def require_near(self, frame: Frame, plan: Plan, sites: int) -> None:
        """FaultyServer for an invitation to a round that is over, or to one too far ahead."""
        if frame.round < self.begun:
            raise FaultyServer("an invitation to a round that is over")
        if frame.round > max(self.begun, self.done) + rounds_ahead(plan, sites):
            message = (
                f"an invitation to round {frame.round}, where round {max(self.begun, self.done)} was the last"
            )
            raise FaultyServer(message, hint="the coordinator has to greet this site again")
        if frame.attempt > self.attempts + ATTEMPTS_AHEAD:
            most = self.attempts + ATTEMPTS_AHEAD
            message = f"an invitation to attempt {frame.attempt}, where {most} is the most"
            raise FaultyServer(message, hint="the coordinator has to greet this site again")
