"""The gates: of everything that Flower's app answers, a stranger gets nothing and a site what it needs."""

from __future__ import annotations

import asyncio
import itertools
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.link import gate
from server.link.gate import FLEET, GATE_HEADER, OWN, LocalGate, PublicGate, Receive, Scope, Send
from server.link.order import Order
from server.link.superlink import Signed, flower_app
from tests.server.link.nodes import node, signed

KEY, POINT = node()
TOKEN = "ab" * 32
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")


class Behind:
    """What stands behind a gate: it notes what reaches it, and reads the body."""

    def __init__(self) -> None:
        self.reached: list[tuple[str, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", scope["type"] == "http"
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if message["type"] == "http.disconnect":
                body += b"<cut>"
        self.reached.append((scope.get("path", scope["type"]), body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def ask(
    app: Any,
    path: str,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    pairs: list[tuple[bytes, bytes]] | None = None,
    **changes: Any,
) -> tuple[int, bytes]:
    """Status and body of an answer; 0 if there is none."""
    told = {"content-length": str(len(body)), **(headers or {})}
    pairs = pairs or [(name.encode(), value.encode()) for name, value in told.items()]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asked = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": pairs,
        "client": ("10.0.0.9", 1),
    }
    asyncio.run(app({**asked, **changes}, receive, send))
    return (sent[0]["status"], sent[1]["body"]) if sent else (0, b"")


@pytest.fixture(scope="module")
def routes() -> list[str]:
    """Every path of Flower's own app."""
    order = Order(0, 0, "", "", (POINT.hex(),), token=TOKEN, secret="00" * 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Flower's own, of a library that it uses
        app = flower_app(order)
    return sorted(
        app.openapi()["paths"].keys() | {route.path for route in app.routes if hasattr(route, "path")}
    )


def test_flowers_app_is_what_these_tests_take_it_for(routes: list[str]) -> None:
    assert len(routes) > 70
    assert {*FLEET, *OWN, "/docs", "/openapi.json", "/health", "/v1/fleet/register-node"} <= set(routes)


def test_of_all_paths_a_site_reaches_those_that_it_needs_and_a_stranger_none(routes: list[str]) -> None:
    behind = Behind()
    door = PublicGate(behind, Signed((POINT,)))
    odd = ["/", "", "//v1/fleet/pull-messages", "/v1/fleet/pull-messages/", "/V1/FLEET/PULL-MESSAGES", "*"]
    theirs = {**signed(node()[0]), GATE_HEADER: TOKEN}
    for path, method in itertools.product([*routes, *odd], METHODS):
        for headers in ({}, {GATE_HEADER: TOKEN}, theirs, {"authorization": f"Bearer {TOKEN}"}):
            status, body = ask(door, path, method, headers)
            assert status == (401 if path in FLEET and method == "POST" else 404), (method, path)
            assert body == b""
    assert behind.reached == []
    for path, method in itertools.product([*routes, *odd], METHODS):
        status, _ = ask(door, path, method, {**signed(KEY), GATE_HEADER: TOKEN})
        assert status == (200 if path in FLEET and method == "POST" else 404), (method, path)
    assert sorted(path for path, _ in behind.reached) == sorted(FLEET)


def test_nobody_registers_itself_or_fetches_code() -> None:
    for path in ("register-node", "unregister-node", "get-run", "get-fab"):
        assert f"/v1/fleet/{path}" not in FLEET
    assert not [path for path in FLEET if not path.startswith("/v1/fleet/")]
    assert not [path for path in OWN if path.startswith("/v1/fleet/")]


def test_who_signed_is_known_from_the_headers_alone() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    knows = Signed((POINT,), lambda: now)

    def told(**changes: str) -> dict[bytes, bytes]:
        headers = {**signed(KEY, now), **{name.replace("_", "-"): value for name, value in changes.items()}}
        return {name.encode(): value.encode() for name, value in headers.items()}

    assert knows(told()) is not None
    assert knows({}) is None
    other = signed(node()[0], now)
    assert knows(told(**{name: other[name] for name in ("flwr-public-key",)})) is None
    assert knows(told(flwr_signature=other["flwr-signature"])) is None
    assert knows(told(flwr_signature="?")) is None
    assert knows(told(flwr_timestamp="yesterday")) is None
    assert knows(told(flwr_timestamp=(now + timedelta(seconds=1)).isoformat())) is None
    for moment in (now - timedelta(seconds=306), now + timedelta(seconds=6)):
        headers = {name.encode(): value.encode() for name, value in signed(KEY, moment).items()}
        assert knows(headers) is None
    without_zone = {
        name.encode(): value.encode() for name, value in signed(KEY, now.replace(tzinfo=None)).items()
    }
    assert knows(without_zone) is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-length": str(1 << 16)}, 200),
        ({"content-length": str((1 << 16) + 1)}, 413),
        ({"content-length": "9" * 400}, 413),
        ({"content-length": "-1"}, 411),
        ({"content-length": ""}, 411),
        ({"transfer-encoding": "chunked"}, 411),
    ],
    ids=str,
)
def test_a_body_has_a_length_and_a_limit(headers: dict[str, str], status: int) -> None:
    behind = Behind()
    assert (
        ask(
            PublicGate(behind, Signed((POINT,))),
            "/v1/fleet/pull-messages",
            headers={**signed(KEY), **headers},
        )[0]
        == status
    )
    assert len(behind.reached) == (status == 200)


def test_a_header_that_comes_twice_is_refused() -> None:
    behind = Behind()
    pairs = [
        (name.encode(), value.encode()) for name, value in {**signed(KEY), "content-length": "0"}.items()
    ]
    door = PublicGate(behind, Signed((POINT,)))
    assert ask(door, "/v1/fleet/pull-messages", pairs=pairs)[0] == 200
    assert ask(door, "/v1/fleet/pull-messages", pairs=[*pairs, pairs[0]])[0] == 401


def test_a_query_and_a_web_socket_get_nothing() -> None:
    behind = Behind()
    door = PublicGate(behind, Signed((POINT,)))
    assert ask(door, "/v1/fleet/pull-messages", headers=signed(KEY), query_string=b"a=b")[0] == 404
    for kind in ("websocket", "lifespan"):
        assert ask(door, "/v1/fleet/pull-messages", headers=signed(KEY), type=kind)[0] == 0
    assert ask(LocalGate(behind, TOKEN), "/v1/control/list-nodes", type="websocket")[0] == 0
    assert behind.reached == []


def test_a_body_that_trickles_in_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_CHUNK_SECONDS", 0.05)
    behind = Behind()
    door = PublicGate(behind, Signed((POINT,)))
    pairs = [
        (name.encode(), value.encode()) for name, value in {**signed(KEY), "content-length": "9"}.items()
    ]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits so long")

    async def send(_: dict[str, Any]) -> None:
        """The answer is not looked at."""

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/fleet/push-object",
        "query_string": b"",
        "headers": pairs,
    }
    asyncio.run(door(scope, receive, send))
    assert behind.reached == [("/v1/fleet/push-object", b"<cut>")]


def test_one_node_has_few_requests_in_work() -> None:
    async def story() -> list[int]:
        release, seen = asyncio.Event(), list[int]()

        async def slow(scope: Scope, receive: Receive, send: Send) -> None:
            await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        door = PublicGate(slow, lambda _: b"node")

        async def send(message: dict[str, Any]) -> None:
            seen.extend([message["status"]] if "status" in message else [])

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "method": "POST", "path": "/v1/fleet/pull-messages", "query_string": b""}
        asked = {**scope, "headers": [(b"content-length", b"0")], "client": None}
        tasks = [asyncio.create_task(door(asked, receive, send)) for _ in range(gate._AT_ONCE + 3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        refused = list(seen)
        release.set()
        await asyncio.gather(*tasks)
        await door(asked, receive, send)
        return [*refused, *seen[len(refused) :]]

    assert asyncio.run(story()) == [503] * 3 + [200] * (gate._AT_ONCE + 1)


def test_a_node_sends_one_large_body_at_a_time_and_small_ones_beside_it() -> None:
    """A body is in memory as a whole, three times over: eight of one site would be gigabytes."""

    async def story() -> list[int]:
        free, answers = asyncio.Event(), [0] * 4

        async def busy(scope: Scope, receive: Receive, send: Send) -> None:
            await free.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        door = PublicGate(busy, Signed((POINT,)))

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def one(number: int, path: str, length: int) -> None:
            async def send(message: dict[str, Any]) -> None:
                answers[number] = message.get("status", answers[number])

            told = {**signed(KEY), "content-length": str(length)}
            pairs = [(name.encode(), value.encode()) for name, value in told.items()]
            await door({"type": "http", "path": path, "method": "POST", "headers": pairs}, receive, send)

        push, beat = "/v1/fleet/push-object", "/v1/fleet/send-node-heartbeat"
        tasks = [asyncio.create_task(one(0, push, 1 << 20)), asyncio.create_task(one(1, push, 1 << 20))]
        tasks.append(asyncio.create_task(one(2, beat, 9)))
        await asyncio.sleep(0)
        free.set()
        await asyncio.gather(*tasks)
        await one(3, push, 1 << 20)
        return answers

    assert asyncio.run(story()) == [200, 503, 200, 200]


def test_only_the_coordinator_reaches_what_it_calls_itself(routes: list[str]) -> None:
    behind = Behind()
    door = LocalGate(behind, TOKEN)
    wrong: list[dict[str, str]] = [
        {},
        {GATE_HEADER: ""},
        {GATE_HEADER: TOKEN[:-1]},
        {GATE_HEADER: TOKEN + "a"},
        signed(KEY),
    ]
    for path, method in itertools.product(routes, METHODS):
        assert all(ask(door, path, method, headers) == (403, b"") for headers in wrong)
    assert behind.reached == []
    for path, method in itertools.product(routes, METHODS):
        status, _ = ask(door, path, method, {GATE_HEADER: TOKEN})
        assert status == (200 if path in OWN and method == "POST" else 404), (method, path)
    assert sorted(path for path, _ in behind.reached) == sorted(OWN)


def test_secrets_of_an_order_are_not_shown(tmp_path: Path) -> None:
    order = Order(3, 4, "c", "k", ("aa",), token="tttt", secret="ssss")  # noqa: S106
    assert "tttt" not in repr(order)
    assert "ssss" not in repr(order)
    assert Order.from_line(order.to_line()) == order


def test_no_body_is_longer_than_a_reply_of_these_plans() -> None:
    behind = Behind()
    door = PublicGate(behind, Signed((POINT,)), largest=1000)
    most = 1000 + (1 << 16)
    told = {length: {**signed(KEY), "content-length": str(length)} for length in (most, most + 1)}
    assert ask(door, "/v1/fleet/push-object", headers=told[most + 1]) == (413, b"")
    assert behind.reached == []
    assert ask(door, "/v1/fleet/push-object", headers=told[most])[0] == 200
