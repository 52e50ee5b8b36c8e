"""A network that misbehaves on purpose: the in-process transport with a fate for every request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum

from federation.round.messages import Frame, Kind
from federation.round.transport import Arrival, Deadline, Outgoing
from privacy.mechanism.noise import Stream
from server.playing import FIRST, PREPARED


class Fate(Enum):
    """What becomes of a request and of its reply."""

    FINE = "both arrive"
    LOST = "the request never arrives"
    SILENT = "the request arrives, its reply does not"
    TWICE = "the request arrives twice, and so does its reply"
    LATE = "the reply arrives after the deadline of its step"


Decide = Callable[[str, Frame], Fate]
STAGES = (Kind.INVITE, Kind.ADVERTS, Kind.BROADCAST, Kind.CERTIFICATE)  # of a round that loses nobody


class Network:
    """A transport to sites. Replies of one batch arrive in an order that `order`, if given, shuffles."""

    def __init__(
        self, sites: Mapping[str, Callable[[bytes], bytes]], decide: Decide, order: Stream | None = None
    ) -> None:
        self._sites, self._decide, self._order = dict(sites), decide, order
        self._arrivals: deque[Arrival] = deque()
        self._late: list[Arrival] = []
        self.deadlines = 0

    def addresses(self) -> tuple[str, ...]:
        return tuple(self._sites)

    def send(self, messages: Iterable[Outgoing]) -> None:
        arrived: list[Arrival] = []
        for message in messages:
            fate = self._decide(message.to, Frame.from_bytes(message.data))
            if fate is Fate.LOST:
                continue
            times = 2 if fate is Fate.TWICE else 1
            replies = [Arrival(message.to, self._sites[message.to](message.data)) for _ in range(times)]
            if fate is Fate.LATE:
                self._late += replies
            elif fate is not Fate.SILENT:
                arrived += replies
        if self._order is not None:
            lots = [int(lot) for lot in self._order.words(len(arrived))]
            arrived = [arrival for _, arrival in sorted(zip(lots, arrived, strict=True), key=lambda p: p[0])]
        self._arrivals.extend(arrived)

    def next(self, timeout: float) -> Arrival | Deadline:
        if self._arrivals:
            return self._arrivals.popleft()
        self.deadlines += 1
        self._arrivals.extend(self._late)
        self._late.clear()
        return Deadline()


FIRST_TRIES = range(PREPARED, FIRST + 1)  # the attempt that a round begins with, prepared or not


def vanish(site: str, stage: Kind, round_number: int, *, attempts: range = FIRST_TRIES) -> Decide:
    """`site` is gone from `stage` of a round on, in the named attempts, and back afterwards."""

    def decide(name: str, frame: Frame) -> Fate:
        there = name != site or frame.round != round_number or frame.attempt not in attempts
        return Fate.FINE if there or frame.kind < stage else Fate.LOST

    return decide
