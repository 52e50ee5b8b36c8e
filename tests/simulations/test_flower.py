"""A federation under Flower in one process: real messages, the real ClientApp, real sockets."""

from __future__ import annotations

import os
import threading
import time

import pytest
from flwr.app import Message
from flwr.supercore.task_identity import TaskIdentity

from federation.round.transport import Arrival, Deadline, Outgoing, Transport
from privacy.errors import PrivacyError
from simulations import flower
from simulations.flower import flower_world
from tests.patience import patience

WAIT = patience(10)  # for what is there at once


def ask(transport: Transport, data: bytes) -> dict[str, bytes]:
    """Ask every site and gather what they answer."""
    transport.send([Outgoing(address, data) for address in transport.addresses()])
    replies: dict[str, bytes] = {}
    while isinstance(arrival := transport.next(WAIT), Arrival):
        replies[arrival.sender] = arrival.data
    return replies


def test_every_site_is_asked_and_answers_for_itself() -> None:
    receives = {name: (lambda data, name=name: name.encode() + data) for name in ("a", "b", "c")}
    with flower_world(receives) as world:
        assert len(world.addresses()) == 3
        assert sorted(ask(world, b"-1").values()) == [b"a-1", b"b-1", b"c-1"]
        assert sorted(ask(world, b"-2").values()) == [b"a-2", b"b-2", b"c-2"]


def test_a_site_lives_from_message_to_message() -> None:
    counts = {"a": 0}

    def count(data: bytes) -> bytes:
        counts["a"] += 1
        return str(counts["a"]).encode()

    with flower_world({"a": count}) as world:
        assert [list(ask(world, b"x").values()) for _ in range(3)] == [[b"1"], [b"2"], [b"3"]]


def test_a_failing_site_is_silent_and_costs_no_waiting() -> None:
    def failing(data: bytes) -> bytes:
        raise PrivacyError("stop")

    with flower_world({"a": failing, "b": lambda data: data}) as world:
        started = time.monotonic()
        assert list(ask(world, b"x").values()) == [b"x"]
        assert time.monotonic() - started < WAIT / 2


def test_a_late_site_meets_the_deadline_and_its_reply_arrives_afterwards() -> None:
    gate = threading.Event()

    def slow(data: bytes) -> bytes:
        gate.wait(10 * WAIT)
        return data

    with flower_world({"a": slow}) as world:
        (address,) = world.addresses()
        world.send([Outgoing(address, b"x")])
        assert world.next(0.05) == Deadline()
        gate.set()
        assert world.next(WAIT) == Arrival(address, b"x")


def test_a_message_to_nobody_is_silence() -> None:
    with flower_world({"a": lambda data: data}) as world:
        world.send([Outgoing("12345", b"x")])
        assert world.next(WAIT) == Deadline()


def test_a_bug_in_the_client_app_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Message:
        raise ZeroDivisionError

    monkeypatch.setattr(flower, "app", broken)
    with flower_world({"a": lambda data: data}) as world, pytest.raises(Exception, match="ZeroDivisionError"):
        ask(world, b"x")


def test_the_process_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLWR_HOME", "/elsewhere")
    before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    with flower_world({"a": lambda data: data}):
        assert TaskIdentity.run_id == 1
        assert os.environ["FLWR_HOME"] != "/elsewhere"
    assert (TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id) == before
    assert os.environ["FLWR_HOME"] == "/elsewhere"
    assert not [thread for thread in threading.enumerate() if thread.name == "site-service"]


def test_five_sites_answer_in_milliseconds() -> None:
    with flower_world({str(number): (lambda data: data) for number in range(5)}) as world:
        ask(world, b"x")
        started = time.monotonic()
        for _ in range(20):
            assert len(ask(world, b"x" * 1000)) == 5
        assert (time.monotonic() - started) / 20 < patience(0.02)  # 4 ms on a quiet machine
