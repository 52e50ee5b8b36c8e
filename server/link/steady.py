"""A transport over a SuperLink that may die and come back: an outage is waited out, and then a step goes on.

Nothing of a run depends on it: a message that was lost on the way is a site that is silent. It saves the time that
such silence costs. A call that failed for a reason that may pass is made again, for two minutes at most; then what
was asked and not answered is asked again, since a reply may have been lost (a site answers the same request with
the same bytes). Where the SuperLink knows the run no more, another one takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Final, Self, TypeVar

from federation.errors import TransportError
from federation.log import note, warn
from federation.round.transport import Arrival, Deadline, Outgoing, Transport
from server.link.flower import is_away, is_over, is_stuck

LONGEST: Final = 120.0
"""Seconds without a SuperLink after which a run ends; it can be resumed."""
_BACK_SECONDS: Final = 15.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
T = TypeVar("T")


class Named:
    """A transport whose addresses are site ids: a SuperLink that follows another gives the nodes other numbers."""

    def __init__(self, line: Transport, numbers: Mapping[str, str]) -> None:
        self._line, self._numbers = line, numbers
        self._names = {number: site for site, number in numbers.items()}

    def addresses(self) -> tuple[str, ...]:
        """The sites that can be reached now."""
        return tuple(self._names[number] for number in self._line.addresses() if number in self._names)

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Send each message to its site."""
        self._line.send(Outgoing(self._numbers[message.to], message.content) for message in messages)

    def next(self, timeout: float) -> Arrival | Deadline:
        """The next reply, under the id of the site that was asked."""
        found = self._line.next(timeout)
        return Arrival(self._names[found.sender], found.data) if isinstance(found, Arrival) else found


class SteadyTransport:
    """The transports that `opens` makes, one after the other, as one.

    `require` raises if there will be no more; `renew` is for a SuperLink that is there and does not answer.

    Time for answers begins anew after an outage: it was not the sites that were slow.
    """

    def __init__(
        self,
        opens: Callable[[], AbstractContextManager[Transport]],
        require: Callable[[], None] = lambda: None,
        renew: Callable[[], None] = lambda: None,
        longest: float = LONGEST,
    ) -> None:
        self._opens, self._require, self._renew, self._longest = opens, require, renew, longest
        self._stack = ExitStack()
        self._line: Transport | None = None
        self._unanswered: dict[str, Outgoing] = {}  # the newest request to each address
        self._since: float | None = None  # when calls began to fail
        self._pause = _SHORTEST_PAUSE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def addresses(self) -> tuple[str, ...]:
        """The addresses that can be reached now."""
        return self._insist(lambda line: line.addresses())

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Send each message; after an outage all of them again."""
        batch = list(messages)
        self._insist(lambda line: line.send(batch))
        self._unanswered |= {message.to: message for message in batch}

    def next(self, timeout: float) -> Arrival | Deadline:
        """The next reply, or `Deadline` after so many seconds in which the SuperLink was there."""
        found = self._insist(lambda line: line.next(timeout))
        if isinstance(found, Arrival):
            self._unanswered.pop(found.sender, None)
        return found

    def _insist(self, call: Callable[[Transport], T]) -> T:
        while True:
            try:
                line = self._open()
                if self._since is not None:
                    self._await_back(line)
                    line.send(list(self._unanswered.values()))
                    note("superlink_back", seconds=time.monotonic() - self._since)
                    self._since, self._pause = None, _SHORTEST_PAUSE
                return call(line)
            except Exception as error:  # only what may pass is caught: the rest is raised again
                self._await(error)

    def _await_back(self, line: Transport) -> None:
        """Wait a while for those who were asked: an empty SuperLink takes no message for who is not back yet."""
        ends = time.monotonic() + _BACK_SECONDS
        while not self._unanswered.keys() <= set(line.addresses()) and time.monotonic() < ends:
            time.sleep(_SHORTEST_PAUSE)

    def _open(self) -> Transport:
        if self._line is None:
            self._line = self._stack.enter_context(self._opens())
        return self._line

    def _await(self, error: Exception) -> None:
        """Wait a little before the next try. The error itself if another try is of no use."""
        cause = (
            error.__cause__ if isinstance(error, TransportError) and error.__cause__ is not None else error
        )
        if not (is_over(cause) or is_away(cause)):
            raise error
        self._require()
        moment = time.monotonic()
        if self._since is None:
            self._since = moment
            warn("superlink_away", detail=type(cause).__name__)
        elif moment - self._since > self._longest:
            hint = "see its log, superlink.log; the same command resumes the run"
            raise TransportError(
                f"the SuperLink has been away for {self._longest:.0f} s", hint=hint
            ) from error
        if is_stuck(cause):
            self._renew()
        if is_over(cause) and self._line is not None:
            self._line = None
            self._close()
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _close(self) -> None:
        """Let go of a run. What it was for is written: how the SuperLink takes its end changes nothing."""
        old, self._stack = self._stack, ExitStack()
        try:
            old.close()
        except Exception:  # it is away, or does not know the run any more
            return
