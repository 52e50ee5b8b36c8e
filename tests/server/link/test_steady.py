"""An outage of the SuperLink: waited out, asked again, and given up in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import httpx
import pytest
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError

from federation.errors import TransportError
from federation.round.transport import Arrival, Deadline, Outgoing, Transport
from server.link import steady
from server.link.flower import RunOver
from server.link.steady import Named, SteadyTransport

HELLO = Outgoing("1", b"hello")


def status(code: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("", request=httpx.Request("POST", "http://x"), response=httpx.Response(code))


class Line:
    """A transport that answers what it is sent, unless it is broken or loses it."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []
        self.fault: Exception | None = None
        self.loses = 0
        self.replies: list[Arrival] = []

    def addresses(self) -> tuple[str, ...]:
        self._check()
        return ("1",)

    def send(self, messages: Iterable[Outgoing]) -> None:
        self._check()
        for message in messages:
            self.sent.append(message)
            if self.loses:
                self.loses -= 1
            else:
                self.replies.append(Arrival(message.to, b"re " + message.data))

    def next(self, timeout: float) -> Arrival | Deadline:
        self._check()
        return self.replies.pop(0) if self.replies else Deadline()

    def _check(self) -> None:
        if self.fault is not None:
            raise TransportError("Flower could not do it") from self.fault


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens while somebody sleeps, in turn; no time passes."""
    events: list[Callable[[], None]] = []
    monkeypatch.setattr(time, "sleep", lambda _: events.pop(0)() if events else None)
    return events


def over(lines: list[Line], ended: list[Line] | None = None, **more: float) -> SteadyTransport:
    left = list(lines)

    @contextmanager
    def opens() -> Iterator[Transport]:
        line = left.pop(0)
        yield line
        (ended if ended is not None else []).append(line)

    return SteadyTransport(opens, **more)


def breaks(line: Line, fault: Exception | None) -> Callable[[], None]:
    return lambda: setattr(line, "fault", fault)


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError(""),
        httpx.ReadTimeout(""),
        httpx.RemoteProtocolError(""),
        status(503),
        ObjectPushError("object", 1, "session"),
    ],
    ids=repr,
)
def test_what_was_asked_before_an_outage_is_asked_again(
    fault: Exception, sleeps: list[Callable[[], None]]
) -> None:
    line = Line()
    with over([line]) as transport:
        line.loses = 1
        transport.send([HELLO])
        line.fault = fault
        sleeps += [lambda: None, breaks(line, None)]
        assert transport.next(1) == Arrival("1", b"re hello")
        assert line.sent == [HELLO, HELLO]


def test_what_was_answered_is_not_asked_again(sleeps: list[Callable[[], None]]) -> None:
    line = Line()
    with over([line]) as transport:
        transport.send([HELLO])
        assert transport.next(1) == Arrival("1", b"re hello")
        line.fault = httpx.ConnectError("")
        sleeps.append(breaks(line, None))
        assert transport.next(1) == Deadline()
        assert line.sent == [HELLO]


@pytest.mark.parametrize("fault", [status(401), status(403), RunOver("")], ids=repr)
def test_a_run_that_the_superlink_forgot_is_followed_by_another(fault: Exception) -> None:
    first, second, ended = Line(), Line(), list[Line]()
    with over([first, second], ended) as transport:
        first.loses = 1
        transport.send([HELLO])
        first.fault = fault
        assert transport.next(1) == Arrival("1", b"re hello")
        assert ended == [first]
    assert ended == [first, second]


def test_messages_that_could_not_be_sent_are_sent_when_it_is_back(sleeps: list[Callable[[], None]]) -> None:
    line = Line()
    line.fault = httpx.ConnectError("")
    sleeps.append(breaks(line, None))
    with over([line]) as transport:
        transport.send([HELLO])
        assert line.sent == [HELLO]


@pytest.mark.parametrize("fault", [ValueError("ours"), status(404), status(413)], ids=repr)
def test_what_does_not_pass_is_raised_at_once(fault: Exception) -> None:
    line = Line()
    with over([line]) as transport, pytest.raises(TransportError, match="Flower could not") as caught:
        line.fault = fault
        transport.next(1)
    assert caught.value.__cause__ is fault


def test_after_a_limit_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    line, now = Line(), [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    line.fault = httpx.ConnectError("")
    with over([line]) as transport, pytest.raises(TransportError, match="away for 120 s") as caught:
        transport.addresses()
    assert caught.value.exit_code == 4
    assert steady.LONGEST < now[0] < 1.1 * steady.LONGEST


def test_sites_are_asked_again_when_they_are_back(sleeps: list[Callable[[], None]]) -> None:
    first, second = Line(), Line()
    second.addresses = lambda: ()  # type: ignore[method-assign]
    with over([first, second]) as transport:
        first.loses = 1
        transport.send([HELLO])
        first.fault = RunOver("")
        sleeps += [lambda: None, lambda: None, lambda: setattr(second, "addresses", lambda: ("1",))]
        assert transport.next(1) == Arrival("1", b"re hello")
        assert not sleeps


def test_a_superlink_that_does_not_answer_is_renewed(sleeps: list[Callable[[], None]]) -> None:
    line, renewed = Line(), list[int]()

    @contextmanager
    def opens() -> Iterator[Transport]:
        yield line

    with SteadyTransport(opens, renew=lambda: renewed.append(1)) as transport:
        line.fault = httpx.ConnectError("")
        sleeps += [breaks(line, httpx.ReadTimeout("")), breaks(line, None)]
        assert transport.addresses() == ("1",)
    assert renewed == [1]


def test_where_there_will_be_no_other_it_says_so_at_once() -> None:
    def require() -> NoReturn:
        raise TransportError("the SuperLink ended 6 times in a minute")

    @contextmanager
    def opens() -> Iterator[Transport]:
        line = Line()
        line.fault = httpx.ConnectError("")
        yield line

    with SteadyTransport(opens, require) as transport, pytest.raises(TransportError, match="6 times"):
        transport.addresses()


def test_a_superlink_that_is_gone_at_the_end_changes_nothing() -> None:
    @contextmanager
    def opens() -> Iterator[Transport]:
        yield Line()
        raise httpx.ConnectError("")

    with SteadyTransport(opens) as transport:
        assert transport.addresses() == ("1",)


def test_addresses_are_sites_whatever_their_numbers() -> None:
    line = Line()
    named = Named(line, {"ash": "1", "birch": "2"})
    assert named.addresses() == ("ash",)
    named.send([Outgoing("birch", b"hello")])
    assert line.sent == [Outgoing("2", b"hello")]
    assert named.next(1) == Arrival("birch", b"re hello")
    assert named.next(1) == Deadline()
