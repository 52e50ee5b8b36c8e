"""A network on a clock of its own: every answer takes its time, and a test takes none."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping

import pytest

from federation.round.messages import Frame
from federation.round.transport import Arrival, Deadline, Outgoing

Takes = Callable[[str, Frame], float | None]
"""How many seconds a site's answer to a request takes; None: it never gets the request."""


class Clocked:
    """A transport whose time passes only while the server waits."""

    def __init__(self, sites: Mapping[str, Callable[[bytes], bytes]], takes: Takes) -> None:
        self._sites, self._takes = dict(sites), takes
        self._coming: list[tuple[float, int, Arrival]] = []
        self._count = 0
        self.now = 0.0
        self.sent: list[tuple[str, Frame]] = []

    def addresses(self) -> tuple[str, ...]:
        return tuple(self._sites)

    def send(self, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            frame = Frame.from_bytes(message.data)
            self.sent.append((message.to, frame))
            seconds = self._takes(message.to, frame)
            if seconds is not None:
                self._count += 1
                arrival = Arrival(message.to, self._sites[message.to](message.data))
                heapq.heappush(self._coming, (self.now + seconds, self._count, arrival))

    def next(self, timeout: float) -> Arrival | Deadline:
        if self._coming and self._coming[0][0] <= self.now + timeout:
            when, _, arrival = heapq.heappop(self._coming)
            self.now = max(self.now, when)
            return arrival
        self.now += timeout
        return Deadline()


def tell_time(network: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server read this network's clock."""
    monkeypatch.setattr(time, "monotonic", lambda: network.now)
