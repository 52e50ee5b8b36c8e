"""A node against a SuperLink that is honest, flaky or hostile: it goes on, and its site sees requests alone."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.proto import fleet_pb2, message_pb2

from clients.board.board import Board
from clients.node import fleet, node
from clients.node.fleet import UNANSWERED, Fleet
from clients.node.line import Line
from clients.node.node import Node
from federation.log import to_stderr
from federation.round.flower import to_record
from tests.clients.node.superlink import NODE, Behave, Handler, SuperLink, half, message_of
from tests.patience import patience

KEY = generate_private_key(SECP384R1())
LARGEST = 20_000


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SuperLink]:
    """A SuperLink, and nodes that lose no time."""
    for module, name, value in (
        (node, "_FIRST", 0.01), (node, "_LAST", 0.02), (node, "_LASTING", 0.02), (node, "_SHORTEST", 0.01),
        (node, "_LONGEST", 0.02), (node, "_BEAT", 0.05), (node, "_BEAT_AGAIN", 0.02),
        (fleet, "_SECONDS", patience(2)),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with SuperLink.in_folder(tmp_path / "tls") as superlink:
        yield superlink


@contextlib.contextmanager
def serving(link: SuperLink, receive: Callable[[bytes], bytes], board: Board | None = None) -> Iterator[Node]:
    """A node of the SuperLink."""
    with closing(Line(link.place())) as line:
        found = Node(
            "berlin", Fleet(line, KEY), link.place(), receive, lambda: LARGEST, board or Board("berlin")
        )
        with found:
            yield found


def backwards(data: bytes) -> bytes:
    return data[::-1]


# How an answer can be bad.


def garbage(handler: Handler) -> None:
    handler.answer(200, b"\xff" * 100)


def nothing(handler: Handler) -> None:
    handler.hang_up()


def endless(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(10_000):
            handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")


def endless_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    with contextlib.suppress(OSError):
        for _ in range(100_000):
            handler.wfile.write(b"x: " + b"y" * 1000 + b"\r\n")


def only_hints(handler: Handler) -> None:
    with contextlib.suppress(OSError):
        for _ in range(1_000_000):
            handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)


def dripping(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(1000):
            handler.wfile.write(b"x")
            time.sleep(0.02)


def slow_drip(handler: Handler) -> None:
    """Goes on beyond the end of the node."""
    dripping(handler)


def no_http(handler: Handler) -> None:
    handler.wfile.write(b"220 mail.example.org ESMTP\r\n" * 10)
    handler.hang_up()


def compressed(handler: Handler) -> None:
    handler.answer(200, bytes(10), content_encoding="gzip")


def elsewhere(handler: Handler) -> None:
    handler.answer(302, b"", location="http://127.0.0.1:9/")


def status(number: int, code: int = 0) -> Behave:
    def behave(handler: Handler) -> None:
        handler.answer(number, json.dumps({"code": code, "detail": "x"}).encode())

    behave.__name__ = f"status {number} {code or ''}".strip()
    return behave


def not_a_version(handler: Handler) -> None:
    """What makes Flower's own client end its process."""
    status(412, fleet.OTHER_VERSION)(handler)


FAULTS = [
    garbage, nothing, half, endless, endless_head, only_hints, dripping, no_http, compressed, elsewhere,
    not_a_version, status(401), status(403), status(404), status(429), status(500), status(503),
    status(412, fleet.UNKNOWN_NODE),
]  # fmt: skip
CALLS = ["activate-node", "pull-messages", "pull-object", "push-messages", "push-object"]


def test_requests_are_answered_one_after_the_other_and_the_board_knows(link: SuperLink) -> None:
    board = Board("berlin")
    with serving(link, backwards, board):
        for number in range(5):
            link.ask(b"request %d" % number)
        link.ask(bytes(LARGEST))
        assert link.heard(6, patience(10)) == [
            *(b"%d tseuqer" % number for number in range(5)),
            bytes(LARGEST),
        ]
        while "send-node-heartbeat" not in link.calls:
            time.sleep(0.01)
    standing = board.standing()
    assert (standing.connection, standing.exchanges) == ("connected", 6)
    assert {"get-run", "get-fab", "register-node"}.isdisjoint(link.calls)
    assert link.calls[-1] == "deactivate-node"
    first = link.calls.index("push-messages")
    assert link.calls[:first].count("pull-object") == 1, "what is around our bytes is known by its name"
    assert link.calls.count("confirm-message-received") == 6


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_whatever_is_answered_to_whatever_call_the_node_goes_on(
    link: SuperLink, fault: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call in turn is answered badly, and the next request finds the node at work."""
    if fault in (dripping, only_hints):
        monkeypatch.setattr(fleet, "_SECONDS", 0.3)  # a busy machine may miss it, and lose more requests
    heard: list[bytes] = []

    def receive(data: bytes) -> bytes:
        heard.append(data)
        return data

    for call in CALLS:
        link.misbehave(call, fault)
    with serving(link, receive) as found:
        for number in range(4):  # each of the later calls spoils one request, at most
            link.ask(b"request %d" % number)
        ends = time.monotonic() + patience(20)
        while b"the last" not in [*map(bytes_of, link.replies)] and time.monotonic() < ends:
            if not link.messages:
                link.ask(b"the last")
            time.sleep(0.02)
        assert bytes_of(link.replies[-1]) == b"the last", link.calls
        assert all(thread.is_alive() for thread in found._threads)
    assert not any(link.faults.values())
    assert set(heard) <= {b"request %d" % number for number in range(4)} | {b"the last"}


def bytes_of(reply: Message) -> bytes | None:
    return None if reply.has_error() else bytes(reply.content["federation"]["data"])  # type: ignore[arg-type,index]


@pytest.mark.parametrize("fault", [nothing, half, status(503), garbage], ids=lambda fault: fault.__name__)
def test_a_request_and_its_reply_survive_a_line_that_breaks(link: SuperLink, fault: Behave) -> None:
    """The SuperLink hands a message out once: what was charged for it must not be lost with a packet."""
    counted: list[bytes] = []

    def receive(data: bytes) -> bytes:
        counted.append(data)
        return data

    for call in ("pull-object", "push-messages", "push-object", "confirm-message-received"):
        link.misbehave(call, fault, fault)
    with serving(link, receive):
        link.ask(b"once")
        assert link.heard(1, patience(10)) == [b"once"]
    assert counted == [b"once"]


def of_content(content: RecordDict, **more: Any) -> Callable[[SuperLink], None]:
    return lambda link: link.messages.append(message_of(content, **more))


def tampered(link: SuperLink) -> None:
    message = message_of(to_record(b"one thing"))
    (record,) = message.content.values()
    link.objects[record.object_id] = ConfigRecord({"data": b"another"}).deflate()
    link.messages.append(message)


def missing(link: SuperLink) -> None:
    def behave(handler: Handler) -> None:
        handler.answer(200, message_pb2.PullObjectResponse().SerializeToString())

    link.misbehave("pull-object", behave)
    link.ask(b"something")


def never_there(link: SuperLink) -> None:
    def behave(handler: Handler) -> None:
        handler.answer(200, message_pb2.PullObjectResponse(object_found=True).SerializeToString())

    link.misbehave("pull-object", *[behave] * 2)
    link.ask(b"something")


def deep_tree(link: SuperLink) -> None:
    def behave(handler: Handler) -> None:
        message = fleet_pb2.PullMessagesResponse.FromString(handler._pull_messages().SerializeToString())
        (tree,) = message.message_object_trees
        inner = tree.children[0].children[0]
        for _ in range(50):
            inner = inner.children.add(object_id="a" * 64)
        handler.answer(200, message.SerializeToString())

    link.ask(b"something")
    link.misbehave("pull-messages", behave)


STRANGERS: dict[str, Callable[[SuperLink], None]] = {
    "another type": of_content(to_record(b"x"), kind="train"),
    "an action of an app": of_content(to_record(b"x"), kind="query.steal"),
    "arrays": of_content(RecordDict({"federation": ArrayRecord([np.zeros(4)])})),
    "another record": of_content(RecordDict({"other": ConfigRecord({"data": b"x"})})),
    "another field": of_content(RecordDict({"federation": ConfigRecord({"code": b"x"})})),
    "text": of_content(RecordDict({"federation": ConfigRecord({"data": "x"})})),
    "nothing": of_content(RecordDict()),
    "no bytes": of_content(RecordDict({"federation": ConfigRecord({"data": b""})})),
    "two records": of_content(
        RecordDict({"federation": ConfigRecord({"data": b"x"}), "b": ConfigRecord({"c": 1})})
    ),
    "for another node": of_content(to_record(b"x"), to=NODE + 1),
    "too long": of_content(to_record(bytes(LARGEST + 1))),
    "far too long": of_content(to_record(bytes(10 * LARGEST))),
    "tampered": tampered,
    "missing": missing,
    "deep": deep_tree,
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
def test_what_is_not_ours_never_reaches_the_site_and_gets_one_fixed_error(
    link: SuperLink, stranger: Callable[[SuperLink], None], capsys: pytest.CaptureFixture[str]
) -> None:
    to_stderr(as_json=True)
    stranger(link)
    link.ask(b"ours")
    heard: list[bytes] = []

    def receive(data: bytes) -> bytes:
        heard.append(data)
        return data

    with serving(link, receive):
        assert link.heard(2, patience(10)) == [None, b"ours"]
    assert heard == [b"ours"]
    assert (link.replies[0].error.code, link.replies[0].error.reason) == (0, UNANSWERED.reason)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in told] == ["connected", "warning"]
    assert (
        "a message of the coordinator's was not answered: it " in told[1]["detail"]
        or "an object" in told[1]["detail"]
    )


def test_a_message_is_confirmed_when_all_of_it_is_stored_since_that_deletes_it(link: SuperLink) -> None:
    message = message_of(to_record(b"something"))
    link.late = {message.object_id: 3, message.content.object_id: 3}
    link.messages.append(message)
    with serving(link, backwards):
        assert link.heard(1, patience(10)) == [b"gnihtemos"]
        ends = time.monotonic() + patience(10)
        while "confirm-message-received" not in link.calls and time.monotonic() < ends:
            time.sleep(0.01)
    assert "confirm-message-received" in link.calls
    assert list(link.late.values()) == [0, 0]


def test_an_object_that_is_not_there_yet_is_waited_for(link: SuperLink) -> None:
    never_there(link)
    with serving(link, backwards):
        assert link.heard(1, patience(10)) == [b"gnihtemos"]


@pytest.mark.parametrize(
    "failure", [ValueError("patient 12345"), SystemExit("patient 12345"), KeyboardInterrupt()]
)
def test_a_site_that_fails_is_one_fixed_error_and_the_node_goes_on(
    link: SuperLink, failure: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    to_stderr()

    def receive(data: bytes) -> bytes:
        if data == b"first":
            raise failure
        return data

    with serving(link, receive):
        link.ask(b"first")
        link.ask(b"second")
        assert link.heard(2, patience(10)) == [None, b"second"]
    assert "12345" not in capsys.readouterr().err


def test_a_coordinator_that_forgets_the_node_is_told_of_it_again(link: SuperLink) -> None:
    """After a restart without a memory: a heartbeat is not known, or a call is refused."""
    link.misbehave("send-node-heartbeat", lambda handler: handler.answer(200, b""))  # success is false
    with serving(link, backwards):
        ends = time.monotonic() + patience(10)
        while link.calls.count("activate-node") < 2 and time.monotonic() < ends:
            time.sleep(0.01)
        link.misbehave("pull-messages", status(401))
        while link.calls.count("activate-node") < 3 and time.monotonic() < ends:
            time.sleep(0.01)
        link.ask(b"again")
        assert link.heard(1, patience(10)) == [b"niaga"]


def test_each_trouble_is_told_once_in_a_row_and_then_that_it_is_over(
    link: SuperLink, capsys: pytest.CaptureFixture[str]
) -> None:
    to_stderr(as_json=True)
    unknown = status(412, fleet.UNKNOWN_NODE)
    link.misbehave("activate-node", *[unknown] * 5, *[status(503)] * 5)
    with serving(link, backwards):
        link.ask(b"well")
        assert link.heard(1, patience(10)) == [b"llew"]
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in told] == ["connection_lost", "connection_lost", "connected"]
    assert "does not know this node's key; send berlin.pub" in told[0]["detail"]
    assert "answers 503: it is not ready" in told[1]["detail"]


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_node_ends_at_once_but_for_a_request_in_progress(link: SuperLink, is_busy: bool) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def receive(data: bytes) -> bytes:
        begun.set()
        assert go_on.wait(patience(10))
        return data

    with serving(link, receive):
        if is_busy:
            link.ask(b"the last")
            assert begun.wait(patience(10))
            threading.Timer(0.3, go_on.set).start()
        else:
            link.misbehave("pull-messages", slow_drip)
        time.sleep(0.1)
        told = time.monotonic()
    assert time.monotonic() - told < patience(4)
    if is_busy:
        assert link.heard(1, 0.1) == [b"the last"]


def test_looks_are_quick_after_a_message_and_rare_in_the_night() -> None:
    assert [node._pause(silence, 0.0) for silence in (0.0, 0.5, 1.0, 20.0, 3600.0)] == [
        0.05,
        0.05,
        0.1,
        2.0,
        3.0,
    ]
    assert [node._pause(0.0, took) for took in (0.01, 0.1, 60.0)] == [0.05, 0.4, 3.0], (
        "a coordinator is spared"
    )


def test_tries_to_connect_are_further_and_further_apart_and_never_in_step() -> None:
    pauses = [[node._backoff(number, 30.0) for _ in range(50)] for number in range(40)]
    for number, each in enumerate(pauses):
        whole = min(30.0, 0.5 * 2.0**number)
        assert all(whole / 2 <= pause <= whole for pause in each)
        assert len(set(each)) > 10
