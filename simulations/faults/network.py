"""A network between server and sites on which the sites of a story are lost and late, by a clock of its own.

Nothing waits for real: `clock` goes on where the server waits for a site that does not answer, and where a site
trains. What is sent to a site that is away, or silent, is lost; but it finds the newest greeting when it is back,
as it would at a SuperLink, and answers that.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from itertools import count

from federation.round.messages import Frame, Kind
from federation.round.transport import Arrival, Deadline, Outgoing
from simulations.faults.story import Fate, Story


class Network:
    """A transport to `sites` in round after round of a story; `kind_of` reads what a request is."""

    def __init__(
        self,
        story: Story,
        sites: Mapping[str, Callable[[bytes], bytes]],
        kind_of: Callable[[bytes], Kind] = lambda data: Frame.header(data).kind,
    ) -> None:
        self.reached: set[str] = set()  # sites that got params in the round at hand, and so have charged it
        self._story, self._sites, self._kind_of = story, dict(sites), kind_of
        self._now, self._order = 0.0, count()
        self._number, self._is_calm = 1, False
        self._silent: set[str] = set()  # until the round is over
        self._greetings: dict[str, bytes] = {}  # that wait for a site
        self._busy: dict[str, float] = {}  # until when a site trains
        self._unanswered = False
        self._arrivals: list[tuple[float, int, Arrival]] = []

    def clock(self) -> float:
        """Seconds since the story began."""
        return self._now

    def begins(self, number: int, waited: float | None = None) -> None:
        """Round `number` begins: whoever is back from now on reads the greeting that waits.

        `waited`: it begins again after so many seconds, in which all who have joined came back, and nobody is lost.
        """
        self._number, self._unanswered, self._is_calm = number, False, waited is not None
        self._now += waited or 0.0
        self._silent.clear()
        self.reached.clear()
        for site in sorted(self._greetings):
            if self._hears(site):
                self._answer(site, self._greetings.pop(site))

    def hang_up(self) -> None:
        """Lines are opened anew: whatever was on the way is lost."""
        self._arrivals.clear()
        self._greetings.clear()
        self._unanswered = False

    def addresses(self) -> tuple[str, ...]:
        """The sites that are there."""
        return tuple(site for site in self._sites if self._hears(site))

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Have each site answer that hears it."""
        for message in messages:
            site, kind = message.to, self._kind_of(message.data)
            if self._hears(site):
                self._take(site, kind, message.data)
                continue
            self._unanswered = True
            if kind is Kind.HELLO:
                self._greetings[site] = message.data

    def next(self, timeout: float) -> Arrival | Deadline:
        """The next answer, if it comes within so many seconds of the clock."""
        ends = self._now + timeout
        if self._arrivals and self._arrivals[0][0] <= ends:
            at, _, arrival = heapq.heappop(self._arrivals)
            self._now = max(self._now, at)
            return arrival
        if self._arrivals or self._unanswered:
            self._now = ends
        return Deadline()

    def _hears(self, site: str) -> bool:
        if self._is_calm:
            return self._story.has_joined(site, self._number)
        return site not in self._silent and self._story.is_there(site, self._number)

    def _take(self, site: str, kind: Kind, data: bytes) -> None:
        if kind is not Kind.BROADCAST:
            self._answer(site, data)
            return
        self.reached.add(site)
        fate = Fate.FINE if self._is_calm else self._story.fate(site, self._number)
        if fate in (Fate.DROPPED, Fate.RESTARTED):
            self._sites[site](data)
            self._unanswered = True
        else:
            late = 0.0 if self._is_calm else self._story.delay(site, self._number)
            trains = self._story.faults.training_seconds + late
            self._busy[site] = max(self._now, self._busy.get(site, 0.0)) + trains
            self._answer(site, data)
        if fate is not Fate.FINE:
            self._silent.add(site)

    def _answer(self, site: str, data: bytes) -> None:
        at = max(self._now, self._busy.get(site, 0.0))
        heapq.heappush(self._arrivals, (at, next(self._order), Arrival(site, self._sites[site](data))))
