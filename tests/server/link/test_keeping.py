"""What a node can have the SuperLink keep is bounded, whatever it does: counted in Flower's own state."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

from federation.round.transport import OPEN
from server.link.keeping import ROOM, Keeping
from server.link.order import Order, node_key
from server.link.superlink import flower_app, settle
from tests.server.link.nodes import node

RUN = 7


@dataclass(frozen=True)
class Held:
    """Flower's state in memory with two nodes, and a run that goes on."""

    state: Any
    nodes: tuple[int, int]

    def push(self, message: Message, objects: dict[str, bytes], tree: ObjectTree | None = None) -> list[bool]:
        """Announce a message and send its objects; of each whether it was taken."""
        session = self.state.start_session(RUN)
        found = self.state.store_message_and_object_tree(message, tree or get_object_tree(message), session)
        return [found[0], *(self.state.store_object(RUN, session, name, objects[name]) for name in found[1])]

    def ask(self, to: int, data: bytes) -> Message:
        message = made(data, SUPERLINK_NODE_ID, self.nodes[to])
        assert all(self.push(message, parts(message)))
        return message

    @property
    def bytes(self) -> int:
        return sum(len(entry.content) for entry in self.state.object_store.store.values())


def made(data: bytes, source: int, to: int, answers: str = "") -> Message:
    lasts = 60.0 if answers else 600.0  # no longer than what it answers, however long this test takes
    about = Metadata(RUN, "", source, to, answers, "", time.time(), lasts, "query")
    message = make_message(about, RecordDict({"federation": ConfigRecord({"data": data})}))
    message.metadata.__dict__["_message_id"] = message.object_id
    return message


def parts(message: Message) -> dict[str, bytes]:
    return {name: part.deflate() for name, part in get_all_nested_objects(message).items()}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        state = flower_app(Order(0, 0, "", "", (), token="", secret="00")).state.linkstate_factory.state()  # noqa: S106
    Keeping(state)
    points = node()[1], node()[1]
    settle(state, points)
    for point in points:
        state.activate_node(state.get_node_id_by_public_key(node_key(point)), 600.0)
    monkeypatch.setattr(state, "_is_finished_run", lambda _: False)
    monkeypatch.setattr(state.federation_manager, "has_node", lambda *_: True)
    monkeypatch.setattr(state.federation_manager, "filter_nodes", lambda nodes, _: nodes)

    class Run:
        run = type("Run", (), {"federation_id": "one"})()

    state.run_ids[RUN] = Run()
    first, second = (state.get_node_id_by_public_key(node_key(point)) for point in points)
    return Held(state, (first, second))


@pytest.mark.parametrize("confirms", [True, False], ids=["confirmed", "not confirmed"])
def test_no_more_is_kept_of_a_node_than_its_newest_requests_and_replies(held: Held, confirms: bool) -> None:
    size = 10_000
    for turn in range(4 * OPEN):
        asked = held.ask(0, turn.to_bytes(4, "big") * (size // 4))
        if confirms:
            held.state.object_store.delete(asked.object_id)
        reply = made(bytes([turn]) * size, held.nodes[0], SUPERLINK_NODE_ID, asked.object_id)
        assert all(held.push(reply, parts(reply)))
        assert held.bytes <= (1 if confirms else 2) * OPEN * (size + 2 * ROOM)
    assert held.state.num_message_res() == OPEN
    assert not held.state._object_push_sessions


def test_nobodys_newest_are_let_go_for_another(held: Held) -> None:
    theirs = [held.ask(1, bytes([turn])) for turn in range(OPEN)]
    for turn in range(4 * OPEN):
        asked = held.ask(0, bytes([turn, 0]))
        reply = made(bytes([turn, 1]), held.nodes[0], SUPERLINK_NODE_ID, asked.object_id)
        assert all(held.push(reply, parts(reply)))
    assert all(one.object_id in held.state.object_store for one in theirs)
    stolen = made(b"x", held.nodes[0], SUPERLINK_NODE_ID, asked.object_id)
    stolen.metadata.__dict__["_message_id"] = theirs[0].object_id
    assert held.push(stolen, {}, get_object_tree(theirs[0])) == [False]
    again = made(b"mine", held.nodes[1], SUPERLINK_NODE_ID, theirs[0].object_id)
    assert all(held.push(again, parts(again)))


def test_what_is_announced_and_never_sent_is_let_go_as_well(held: Held) -> None:
    for turn in range(4 * OPEN):
        asked = held.ask(0, bytes([turn]))
        for _ in range(3):  # again and again
            reply = made(bytes([turn, 1]), held.nodes[0], SUPERLINK_NODE_ID, asked.object_id)
            session = held.state.start_session(RUN)
            held.state.store_message_and_object_tree(reply, get_object_tree(reply), session)
            assert len(held.state._object_push_sessions) <= OPEN
    assert len(held.state.object_store) <= 2 * 3 * OPEN


def test_an_object_that_others_hang_on_is_small(held: Held) -> None:
    asked = held.ask(0, b"asked")
    about = Metadata(
        RUN, "", held.nodes[0], SUPERLINK_NODE_ID, asked.object_id, "", time.time(), 60.0, "query"
    )
    large = make_message(about, RecordDict({"n" * 2 * ROOM: ConfigRecord({"data": b"x" * 4 * ROOM})}))
    large.metadata.__dict__["_message_id"] = large.object_id
    lengths = [len(part) for part in parts(large).values()]
    assert sum(length > ROOM for length in lengths) == 2
    before = held.bytes
    assert held.push(large, parts(large)).count(False) == 1
    assert held.bytes - before == sum(lengths) - sorted(lengths)[1]
