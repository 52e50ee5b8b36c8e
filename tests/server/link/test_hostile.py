"""A site with a key of the roster against the coordinator and the others, over a real SuperLink."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto import fleet_pb2, message_pb2
from flwr.proto.node_pb2 import Node

from clients.node.fleet import Asked, Fleet, Refused, Reply
from clients.node.line import Line
from clients.node.line import Place as Dialed
from federation.round.flower import GridTransport
from federation.round.transport import OPEN, Arrival, Deadline, Outgoing
from server.link.certificates import own
from server.link.child import Place, SuperLink, listen
from server.link.flower import Link
from tests.patience import patience
from tests.server.link.nodes import node

pytestmark = pytest.mark.waits


@dataclass(frozen=True)
class Two:
    """An honest site and a hostile one, and the coordinator's end."""

    transport: GridTransport
    honest: tuple[Fleet, int]
    hostile: tuple[Fleet, int]
    process: int

    @property
    def memory(self) -> int:
        """Bytes that the SuperLink has in memory."""
        lines = Path(f"/proc/{self.process}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))

    def exchange(self, misbehave: Callable[[Fleet, int, Asked], None]) -> dict[str, bytes]:
        """What comes back when both are asked and the hostile one answers so."""
        (honest, mine), (hostile, its) = self.honest, self.hostile
        self.transport.send([Outgoing(str(mine), b"to honest"), Outgoing(str(its), b"to hostile")])
        misbehave(hostile, its, asked_of(hostile, its))
        asked = asked_of(honest, mine)
        assert honest.fetch(mine, asked, 100) == b"to honest"
        honest.send(mine, Reply.to(asked, b"mine"))
        return self.replies()

    def replies(self) -> dict[str, bytes]:
        """Whatever comes until the honest site's is there, and a little longer."""
        found: dict[str, bytes] = {}
        ends = time.monotonic() + patience(10)
        while True:
            assert time.monotonic() < ends
            match self.transport.next(1.0):
                case Arrival(sender, data):
                    found[sender] = data
                case Deadline():
                    if str(self.honest[1]) in found:
                        return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder = tmp_path_factory.mktemp("state")
    made = own(folder / "tls", "localhost")
    (honest, first), (hostile, second) = node(), node()
    points = {"ash": first, "elm": second}
    with (
        listen("127.0.0.1", 0) as public,
        SuperLink(Place(folder / "link"), public, made, tuple(points.values())) as superlink,
    ):
        link = Link(superlink.address, superlink.token, superlink.secret)
        settled(link, points)
        place = Dialed(f"localhost:{public.getsockname()[1]}", made.pinned or Path())
        with closing(Line(place)) as line, closing(Line(place)) as other, link.run() as grid:
            sites = [Fleet(line, honest), Fleet(other, hostile)]
            yield Two(GridTransport(grid), *((fleet, fleet.activate()) for fleet in sites), superlink.process)


def settled(link: Link, points: dict[str, bytes]) -> None:
    ends = time.monotonic() + patience(30)
    while True:
        try:
            link.connected(points)
            return
        except httpx.HTTPError:
            assert time.monotonic() < ends
            time.sleep(0.2)


def asked_of(fleet: Fleet, number: int) -> Asked:
    ends = time.monotonic() + patience(20)
    while (asked := fleet.pull(number)) is None:
        assert time.monotonic() < ends
        time.sleep(0.05)
    return asked


def announced(
    fleet: Fleet, number: int, message: Message, tree: message_pb2.ObjectTree, author: int = 0
) -> Any:
    """What the SuperLink says to a message and its tree."""
    told = fleet_pb2.PushMessagesRequest(
        node=Node(node_id=author or number),
        messages_list=[message_to_proto(remove_content_from_message(message))],
        message_object_trees=[tree],
    )
    return fleet._call("push-messages", told, fleet_pb2.PushMessagesResponse)


def of_other_objects(reply: Reply) -> Reply:
    """The same reply, whose message is no message."""
    record = ConfigRecord({"data": b"no message"})
    name = record.object_id
    reply.message.metadata.__dict__["_message_id"] = name
    return replace(reply, tree=message_pb2.ObjectTree(object_id=name), objects={name: record.deflate()})


def test_a_reply_that_is_none_silences_its_sender_and_nobody_else(two: Two) -> None:
    def lie(fleet: Fleet, number: int, asked: Asked) -> None:
        fleet.send(number, of_other_objects(Reply.to(asked, b"data")))

    assert two.exchange(lie) == {str(two.honest[1]): b"mine"}


def test_a_reply_that_is_announced_and_never_sent_holds_nobody_up(two: Two) -> None:
    def stop(fleet: Fleet, number: int, asked: Asked) -> None:
        reply = Reply.to(asked, b"data")
        announced(fleet, number, reply.message, reply.tree)

    assert two.exchange(stop) == {str(two.honest[1]): b"mine"}


LIES: dict[str, Callable[[Message, int], Any]] = {
    "in another's name": lambda told, other: told.metadata.__dict__.update(_src_node_id=other),
    "to another site": lambda told, other: told.metadata.__dict__.update(_dst_node_id=other),
    "of another kind": lambda told, _: told.metadata.__dict__.update(_message_type="train"),
    "to no request": lambda told, _: told.metadata.__dict__.update(_reply_to_message_id=""),
    "for ever": lambda told, _: told.metadata.__dict__.update(_ttl=float("nan")),
}


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_site_speaks_to_the_coordinator_in_its_own_name_alone(two: Two, lie: str) -> None:
    (_, victim), (fleet, number) = two.honest, two.hostile
    two.transport.send([Outgoing(str(number), b"asked")])
    reply = Reply.to(asked_of(fleet, number), b"data")
    LIES[lie](reply.message, victim)
    with pytest.raises(Refused) as refused:
        announced(fleet, number, reply.message, reply.tree)
    assert refused.value.status == 400


def test_a_request_that_a_site_makes_up_reaches_no_other_site(two: Two) -> None:
    (honest, victim), (fleet, number) = two.honest, two.hostile
    two.transport.send([Outgoing(str(number), b"asked")])
    run = asked_of(fleet, number).message.metadata.run_id
    made = make_message(Metadata(run, "", 1, victim, "", "", time.time(), 600.0, "query"), RecordDict())
    made.metadata.__dict__["_message_id"] = made.object_id
    with pytest.raises(Refused):
        announced(fleet, number, made, message_pb2.ObjectTree(object_id=made.object_id))
    while (asked := honest.pull(victim)) is not None:  # what was left of another test
        assert asked.objects[0] != made.object_id


def test_a_reply_has_three_objects_and_no_more(two: Two) -> None:
    fleet, number = two.hostile
    two.transport.send([Outgoing(str(number), b"asked")])
    reply = Reply.to(asked_of(fleet, number), b"data")
    for more in (reply.tree, reply.tree.children[0], reply.tree.children[0].children[0]):
        more.children.add(object_id="ab" * 32)
        with pytest.raises(Refused):
            announced(fleet, number, reply.message, reply.tree)
        del more.children[-1]
    record = reply.tree.children[0].children[0]
    for name in (reply.tree.object_id, "x"):  # one that hangs on itself would never be forgotten
        record.object_id = name
        with pytest.raises(Refused):
            announced(fleet, number, reply.message, reply.tree)
    reply.tree.object_id = "ab" * 32
    with pytest.raises(Refused):
        announced(fleet, number, reply.message, reply.tree)


def test_replies_do_not_hang_on_one_another(two: Two) -> None:
    """Each would be told with all that hangs on it: deeper with every reply, until nothing can be told any more."""
    fleet, number = two.hostile
    two.transport.send([Outgoing(str(number), b"one"), Outgoing(str(number), b"two")])
    first, second = (Reply.to(asked_of(fleet, number), data) for data in (b"first", b"second"))
    announced(fleet, number, first.message, first.tree)
    announced(fleet, number, first.message, first.tree)  # again, as after a lost answer
    second.tree.children[0].children[0].object_id = first.tree.object_id
    with pytest.raises(Refused):
        announced(fleet, number, second.message, second.tree)


def test_what_nobody_fetches_does_not_fill_the_memory(two: Two) -> None:
    """Late answers, of an honest site or not: to requests that were given up, or whose round is over."""
    fleet, number = two.hostile
    size, before = 2 << 20, two.memory
    for turn in range(6 * OPEN):
        two.transport.send([Outgoing(str(number), b"asked %d" % turn)])
        fleet.send(number, Reply.to(asked_of(fleet, number), turn.to_bytes(4, "big") * (size // 4)))
    assert two.memory - before < 4 * OPEN * size
    assert two.exchange(lambda *_: None)[str(two.honest[1])] == b"mine"
