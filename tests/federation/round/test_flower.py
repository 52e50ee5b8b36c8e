"""Our bytes in Flower's records, and Flower's Grid as a transport."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from federation.errors import TransportError
from federation.round import flower
from federation.round.flower import GridTransport, from_record, to_record
from federation.round.transport import Arrival, Deadline, Outgoing
from privacy.errors import MalformedMessage


class ScriptedGrid(Grid):
    """A Grid whose replies the test writes."""

    def __init__(self) -> None:
        self.pushed: list[Message] = []
        self.replies: list[Message] = []
        self.names: list[str] | None = None
        self.pulls = 0
        self.error: Exception | None = None

    def get_node_ids(self) -> Iterable[int]:
        self._fail()
        return [2**64 - 1, 2]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self._fail()
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"m{len(self.pushed)}"
            self.pushed.append(message)
        new = [message.metadata.message_id for message in messages]
        return new if self.names is None else self.names

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self._fail()
        self.pulls += 1
        replies, self.replies = self.replies, []
        return replies

    def answer(self, index: int, content: RecordDict | Error) -> None:
        """Let a reply to the request of this index be ready."""
        self.replies.append(Message(content, reply_to=self.pushed[index]))

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def set_run(self, run: object) -> Any:
        raise NotImplementedError

    def create_message(self, *_: object, **__: object) -> Any:
        raise NotImplementedError

    def send_and_receive(self, *_: object, **__: object) -> Any:
        raise NotImplementedError


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> ScriptedGrid:
    """In a process that knows which task it runs, as Flower's own do."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    return ScriptedGrid()


@given(st.binary(min_size=1))
def test_bytes_survive_flowers_records_and_its_wire(data: bytes) -> None:
    wire = recorddict_to_proto(to_record(data)).SerializeToString()
    assert (
        from_record(recorddict_from_proto(type(recorddict_to_proto(RecordDict())).FromString(wire))) == data
    )


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"other": ConfigRecord({"data": b"x"})}),
        RecordDict({"federation": ConfigRecord({"data": b"x"}), "more": ConfigRecord()}),
        RecordDict({"federation": ConfigRecord({"data": b"x", "more": 1})}),
        RecordDict({"federation": ConfigRecord({"other": b"x"})}),
        RecordDict({"federation": ConfigRecord({"data": "x"})}),
        RecordDict({"federation": ConfigRecord({"data": [b"x"]})}),
        RecordDict({"federation": ConfigRecord({"data": b""})}),
        RecordDict({"federation": MetricRecord({"data": 1})}),
        RecordDict({"federation": ArrayRecord()}),
    ],
    ids=str,
)
def test_anything_but_exactly_our_record_is_malformed(content: RecordDict) -> None:
    with pytest.raises(MalformedMessage):
        from_record(content)


def test_a_record_beyond_the_limit_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flower, "LARGEST", 3)
    assert from_record(to_record(b"123")) == b"123"
    with pytest.raises(MalformedMessage):
        from_record(to_record(b"1234"))


def test_addresses_are_the_connected_nodes_in_order(grid: ScriptedGrid) -> None:
    assert GridTransport(grid).addresses() == ("2", str(2**64 - 1))


def test_a_request_is_a_query_to_its_node_which_does_not_live_forever(grid: ScriptedGrid) -> None:
    GridTransport(grid).send([Outgoing("5", b"x")])
    (request,) = grid.pushed
    assert (request.metadata.dst_node_id, request.metadata.message_type) == (5, "query")
    assert request.metadata.ttl == flower.LIFETIME
    assert from_record(request.content) == b"x"


def test_replies_are_known_by_the_request_that_they_answer(grid: ScriptedGrid) -> None:
    transport = GridTransport(grid, shortest=0.001)
    transport.send([Outgoing("5", b"x"), Outgoing("6", b"y")])
    grid.answer(1, to_record(b"from 6"))
    grid.answer(0, to_record(b"from 5"))
    assert transport.next(1) == Arrival("6", b"from 6")
    assert transport.next(1) == Arrival("5", b"from 5")
    assert transport.next(1) == Deadline()


def test_a_request_is_answered_once_and_strangers_replies_are_dropped(grid: ScriptedGrid) -> None:
    transport = GridTransport(grid, shortest=0.001)
    transport.send([Outgoing("5", b"x"), Outgoing("6", b"y")])
    grid.answer(0, to_record(b"first"))
    grid.answer(0, to_record(b"second"))
    stranger = Message(to_record(b"stranger"), reply_to=grid.pushed[0])
    stranger.metadata.__dict__["_reply_to_message_id"] = "unknown"
    grid.replies.append(stranger)
    assert transport.next(0.02) == Arrival("5", b"first")
    assert transport.next(0.02) == Deadline()


@pytest.mark.parametrize("content", [Error(code=5, reason="gone"), RecordDict(), to_record(b"")], ids=str)
def test_an_error_or_a_malformed_reply_is_silence(grid: ScriptedGrid, content: RecordDict | Error) -> None:
    transport = GridTransport(grid, shortest=0.001)
    transport.send([Outgoing("5", b"x"), Outgoing("6", b"y")])
    grid.answer(0, content)
    grid.answer(1, to_record(b"fine"))
    assert transport.next(1) == Arrival("6", b"fine")
    assert transport.next(1) == Deadline()


class Clock:
    """Time that passes only by sleeping."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_waiting_ends_at_the_deadline(grid: ScriptedGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(flower, "time", clock)
    transport = GridTransport(grid, shortest=0.01, longest=0.04)
    transport.send([Outgoing("5", b"x")])
    assert transport.next(0.2) == Deadline()
    assert clock.now == pytest.approx(0.2)
    assert 4 <= grid.pulls <= 12, "it looks less and less often"


def test_waiting_ends_at_once_when_nobody_is_left_to_answer(grid: ScriptedGrid) -> None:
    transport = GridTransport(grid, shortest=0.001)
    assert transport.next(60) == Deadline()
    transport.send([Outgoing("5", b"x")])
    grid.answer(0, Error(code=5, reason="gone"))
    assert transport.next(60) == Deadline()


def test_the_oldest_requests_of_a_silent_site_are_given_up(grid: ScriptedGrid) -> None:
    """What is parked for it does not grow with the rounds that it misses."""
    transport = GridTransport(grid, shortest=0.01, longest=0.01)
    for number in range(100):
        transport.send([Outgoing("3", b"%d" % number), Outgoing("4", b"%d" % number)])
        assert isinstance(transport.next(0), Deadline)
        assert len(transport._asked) <= 32
    assert sorted(set(transport._asked.values())) == ["3", "4"]


def test_a_node_that_has_left_is_silence(grid: ScriptedGrid) -> None:
    transport = GridTransport(grid, shortest=0.001)
    grid.names = ["", "m1"]
    transport.send([Outgoing("5", b"x"), Outgoing("6", b"y")])
    grid.answer(1, to_record(b"fine"))
    assert transport.next(1) == Arrival("6", b"fine")
    assert transport.next(60) == Deadline()


def test_messages_that_flower_refuses_as_a_whole_are_an_error(grid: ScriptedGrid) -> None:
    grid.names = []
    with pytest.raises(TransportError, match="refused"):
        GridTransport(grid).send([Outgoing("5", b"x")])


def test_a_broken_superlink_is_a_transport_error_without_its_text(grid: ScriptedGrid) -> None:
    transport = GridTransport(grid, shortest=0.001)
    transport.send([Outgoing("5", b"x")])
    grid.error = RuntimeError("internal detail")
    for act in (
        transport.addresses,
        lambda: transport.send([Outgoing("5", b"x")]),
        lambda: transport.next(1),
    ):
        with pytest.raises(TransportError) as caught:
            act()
        assert "internal detail" not in str(caught.value)
