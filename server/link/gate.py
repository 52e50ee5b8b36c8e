"""Two gates in front of Flower's app: what the network may ask of a SuperLink, and what only this coordinator may.

Flower serves three interfaces at one port: Fleet for the sites, Control and Runtime for whoever runs the
federation, of which the second asks nobody who he is. So its app is never exposed as it is:

- `PublicGate` lets through the few Fleet calls that a site needs, each only if a node of the roster signed it.
  That is checked before a byte of the body is read, so a stranger costs a TLS handshake and one signature check.
- `LocalGate` lets through the calls that the coordinator makes, each only with the token that it made for this
  SuperLink, on a listener of this machine alone.

Whatever is not listed here is answered 404, whatever its method and headers. No answer of a gate says anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from cryptography.hazmat.primitives.constant_time import bytes_eq

from federation.round.transport import LARGEST

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = Mapping[bytes, bytes]

_SMALL: Final = 1 << 16
_OBJECT: Final = "/v1/fleet/push-object"
FLEET: Final[Mapping[str, int]] = MappingProxyType(
    {
        "/v1/fleet/activate-node": _SMALL,
        "/v1/fleet/deactivate-node": _SMALL,
        "/v1/fleet/send-node-heartbeat": _SMALL,
        "/v1/fleet/pull-messages": _SMALL,
        "/v1/fleet/push-messages": _SMALL,
        "/v1/fleet/pull-object": _SMALL,
        _OBJECT: LARGEST + _SMALL,  # and what Flower puts around a message
        "/v1/fleet/confirm-message-received": _SMALL,
    }
)
"""What a site may call, and the largest body of it. Nobody registers himself, and nothing is there to be run."""
OWN: Final = frozenset(
    {
        *(f"/v1/control/{name}" for name in (
            "list-nodes", "start-run",
        )),
        *(f"/v1/runtime/{name}" for name in (
            "acquire-task", "pull-task-input", "send-task-heartbeat", "push-task-output", "get-nodes",
            "push-messages", "pull-messages", "push-object", "pull-object", "confirm-message-received",
        )),
    }
)  # fmt: skip
"""What this coordinator calls itself."""
GATE_HEADER: Final = "x-federation-gate"
NODE: Final = "federation.node"
"""Where a request that was let in says whose it is: in its scope, which nobody outside can write to."""

_AT_ONCE: Final = 8  # requests of one node that are in work
_CHUNK_SECONDS: Final = 20.0
_SLOWEST: Final = 16 << 10  # bytes a second


class PublicGate:
    """Lets nodes of the roster in, to what a site needs. `node_of` tells whose known key signed some headers.

    `largest`: bytes of the longest reply of any of them.
    """

    def __init__(
        self,
        app: App,
        node_of: Callable[[Headers], bytes | None],
        welcome: Callable[[str], None] = lambda _: None,
        largest: int = LARGEST,
    ) -> None:
        self._limits = {**FLEET, _OBJECT: largest + _SMALL}
        self._app, self._node_of, self._welcome = app, node_of, welcome
        self._busy: Counter[bytes] = Counter()
        self._heavy: set[bytes] = (
            set()
        )  # nodes that are sending something large: a body is in memory as a whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return None  # a web socket is closed unanswered
        largest = self._limits.get(scope["path"])
        if largest is None or scope["method"] != "POST" or scope.get("query_string"):
            return await refuse(send, 404)
        headers = _headers(scope)
        node = None if headers is None else self._node_of(headers)
        if headers is None or node is None:
            return await refuse(send, 401)
        length = headers.get(b"content-length", b"")
        if b"transfer-encoding" in headers or not length.isdigit():
            return await refuse(send, 411)
        if len(length) > len(str(largest)) or int(length) > largest:
            return await refuse(send, 413)
        is_heavy = int(length) > _SMALL
        if self._busy[node] >= _AT_ONCE or (is_heavy and node in self._heavy):
            return await refuse(send, 503)
        self._welcome(scope["client"][0] if scope.get("client") else "")
        self._busy[node] += 1
        self._heavy |= {node} if is_heavy else set()
        try:
            await self._app({**scope, NODE: node}, _in_time(receive, int(length)), send)
        finally:
            self._busy[node] -= 1
            self._busy += Counter()  # forgets who is idle
            self._heavy -= {node} if is_heavy else set()


class LocalGate:
    """Lets the coordinator in that started this SuperLink."""

    def __init__(self, app: App, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return None
        shown = [value for name, value in scope["headers"] if name.lower() == GATE_HEADER.encode()]
        if len(shown) != 1 or not bytes_eq(shown[0], self._token):
            return await refuse(send, 403)
        if scope["path"] not in OWN or scope["method"] != "POST":
            return await refuse(send, 404)
        return await self._app(scope, receive, send)


def _headers(scope: Scope) -> Headers | None:
    """By name in lower case; None if any of them comes twice, so that nobody after us reads another one."""
    found = [(name.lower(), value) for name, value in scope["headers"]]
    return dict(found) if len(dict(found)) == len(found) else None


def seconds_for(length: int) -> float:
    """How long a body of this length may take."""
    return _CHUNK_SECONDS + length / _SLOWEST


def _in_time(receive: Receive, length: int) -> Receive:
    """Receives a body of this length, as long as it does not trickle in."""
    ends = time.monotonic() + seconds_for(length)
    is_whole = False

    async def receive_in_time() -> dict[str, Any]:
        nonlocal is_whole
        if is_whole:
            return await receive()  # whether the client is still there
        left = max(0.0, min(_CHUNK_SECONDS, ends - time.monotonic()))
        try:
            message = await asyncio.wait_for(receive(), left)
        except TimeoutError:
            return {"type": "http.disconnect"}
        is_whole = not message.get("more_body", False)
        return message

    return receive_in_time


async def refuse(send: Send, status: int) -> None:
    """An answer that says nothing, and ends the connection."""
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
