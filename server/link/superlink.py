"""The SuperLink as a child of the coordinator: `python -m server.link.superlink`, told by its stdin what to be.

This file, and flower.py beside it, are where modules of Flower's are used that it keeps to itself. It makes
Flower's own app with what would run other people's code turned off, and puts our gates in front of it: one
listener for the sites, with TLS, and one for the coordinator, on this machine. Both sockets are handed down open,
so a SuperLink that died is followed by another at the same ports, and a site that dials in between waits instead
of being refused.

The first line of stdin is the order, with the secrets in it: they are in no argument and no environment, which
other users of a machine can read. When stdin ends, the coordinator has ended, and so does this process, at once:
it keeps nothing that anybody needs later.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
import os
import resource
import ssl
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterable
from datetime import datetime
from math import ceil, isfinite
from socket import socket
from typing import Any, Final

import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from flwr.app import MessageType
from flwr.common.constant import (
    HEARTBEAT_DEFAULT_INTERVAL,
    ISOLATION_MODE_PROCESS,
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    SUPERLINK_NODE_ID,
    SYSTEM_TIME_TOLERANCE,
    TIMESTAMP_HEADER,
    TIMESTAMP_TOLERANCE,
    TRANSPORT_TYPE_GRPC_RERE,
)
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.constant import (
    FLEET_HTTP_PUBLIC_KEY_HEADER,
    FLEET_HTTP_SIGNATURE_HEADER,
    FLWR_IN_MEMORY_DB_NAME,
    OBJECT_PUSH_SESSION_TTL_SECONDS,
)
from flwr.supercore.corestate import in_memory_corestate
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import is_valid_sha256_hash
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app
from google.protobuf.message import DecodeError

from server.link.gate import (
    NODE,
    App,
    Headers,
    LocalGate,
    PublicGate,
    Receive,
    Scope,
    Send,
    refuse,
    seconds_for,
)
from server.link.keeping import Keeping
from server.link.listening import Doors, GuardedServer, LocalServer
from server.link.order import Order, node_key

_FILES: Final = 4096  # open at once, if the system allows it
LONGEST_LOG: Final = 1 << 24
"""Bytes of any file that it writes; it writes a log, and no other of any size."""
_IDLE: Final = (
    "ControlEventLogMiddleware",
    "ControlLicenseMiddleware",
    "ControlSensitiveResponseMiddleware",
    "FleetEventLogMiddleware",
    "RuntimeTracingMiddleware",
)
"""Layers of Flower's app that, as it is set up here, pass everything on; they take a quarter of its time."""


def main() -> None:
    """Be a SuperLink until stdin ends."""
    order = Order.from_line(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with, args=(sys.stdin.buffer,), daemon=True).start()
    os.umask(0o077)
    _set_limits()
    logging.getLogger("flwr").setLevel(logging.WARNING)
    in_memory_corestate.OBJECT_PUSH_SESSION_TTL_SECONDS = push_seconds(order.largest)  # type: ignore[attr-defined]  # not exported
    app, points = flower_app(order), tuple(map(bytes.fromhex, order.nodes))
    state = app.state.linkstate_factory.state()
    Keeping(state)
    settle(state, points)
    asyncio.run(_serve(order, app, Signed(points)))


def push_seconds(largest: int) -> int:
    """How long an object may be on its way: as long as the gate waits for the longest reply of a plan.

    Flower gives it three minutes, however long it is, and then forgets that it was announced.
    """
    return max(OBJECT_PUSH_SESSION_TTL_SECONDS, ceil(seconds_for(largest)))


def flower_app(order: Order) -> Any:
    """Flower's own app: nodes have to be registered, tasks need the secret, nothing is started or installed."""
    app = create_app(
        SuperLinkLifespanConfig(
            control_address="",
            health_server_address=None,
            host="",
            port=0,
            insecure=False,
            certificates=None,
            superexec_auth_secret=bytes.fromhex(order.secret),
            authn_plugin=NoOpControlAuthnPlugin(),  # asks nobody who he is; our gate does
            event_log_plugin=None,
            fleet_event_log_plugin=None,
            enable_event_log=False,
            artifact_provider=None,
            enable_supernode_auth=True,
            fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
            fleet_api_address=None,
            simulation=False,
            ssl_ca_certfile=None,
            ssl_certfile=None,
            ssl_keyfile=None,
            database=FLWR_IN_MEMORY_DB_NAME,  # three times as fast; whatever was under way is asked again
            isolation=ISOLATION_MODE_PROCESS,
            runtime_dependency_install=False,
        ),
        SuperLinkLifespan,
    )
    app.user_middleware = [
        layer for layer in app.user_middleware if getattr(layer.cls, "__name__", "") not in _IDLE
    ]
    return app


def settle(state: Any, points: Iterable[bytes]) -> None:
    """Have these nodes registered: before anybody can ask, so that none of them is ever told otherwise.

    No others are: each SuperLink begins empty, and is handed the nodes of the roster.
    """
    for key in map(node_key, points):
        if state.get_node_id_by_public_key(key) is None:
            state.create_node(NOOP_FLWR_AID, NOOP_ACCOUNT_NAME, key, HEARTBEAT_DEFAULT_INTERVAL)


class Signed:
    """Tells whose node's key signed the headers of a request, as Flower's nodes sign them."""

    def __init__(self, points: tuple[bytes, ...], clock: Callable[[], datetime] = now) -> None:
        self._clock = clock
        self._keys = {
            node_key(point): EllipticCurvePublicKey.from_encoded_point(SECP384R1(), point) for point in points
        }

    def __call__(self, headers: Headers) -> bytes | None:
        """The key, or None for a stranger, an old request or a forged one."""
        try:
            public = b64decode(headers[_name(FLEET_HTTP_PUBLIC_KEY_HEADER)], validate=True)
            signature = b64decode(headers[_name(FLEET_HTTP_SIGNATURE_HEADER)], validate=True)
            moment = headers[_name(TIMESTAMP_HEADER)]
            key = self._keys[public]
            age = (self._clock() - datetime.fromisoformat(moment.decode("ascii"))).total_seconds()
            if not -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE:
                return None
            key.verify(signature, moment, ECDSA(SHA256()))
        except (KeyError, ValueError, TypeError, binascii.Error, InvalidSignature):
            return None
        return public


def _name(header: str) -> bytes:
    return header.lower().encode()


class Returning:
    """Lets a node that is back before its old connection was given up come in at once.

    Flower refuses to activate a node that it takes to be connected, for as long as a minute after it was killed.
    Whoever signed with a node's key is that node, so what is left of its old connection is closed first. The gate
    in front tells whose key it is.
    """

    def __init__(self, app: App, state: Any) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/v1/fleet/activate-node":
            await asyncio.to_thread(self._close, scope[NODE])
        await self._app(scope, receive, send)

    def _close(self, public: bytes) -> None:
        state = self._state.state()
        node = state.get_node_id_by_public_key(public)
        if node is not None:
            state.deactivate_node(node)


class Replying:
    """Lets a node push one reply at a time, in its own name, and nothing else.

    Flower takes from a node whatever message it has: requests to any other node, replies in another's name, with as
    many objects as it likes, each of which may hang on any other. A tree in which two objects stand twice on every
    level takes for ever to be told, and one that is too deep cannot be. The gate in front tells whose it is.
    """

    def __init__(self, app: App, state: Any) -> None:
        self._app, self._state = app, state
        self._alone = asyncio.Lock()  # what was looked at is still so when it is stored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/v1/fleet/push-messages":
            await self._app(scope, receive, send)
            return
        body, more = b"", True
        while more:  # the gate bounds it
            part = await receive()
            if part["type"] != "http.request":
                return
            body, more = body + part.get("body", b""), part.get("more_body", False)
        given = False

        async def again() -> dict[str, Any]:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async with self._alone:
            if not await asyncio.to_thread(self._is_own, scope[NODE], body):
                await refuse(send, 400)
            else:
                await self._app(scope, again, send)

    def _is_own(self, public: bytes, body: bytes) -> bool:
        try:
            told = PushMessagesRequest.FromString(body)
        except DecodeError:
            return False
        state = self._state.state()
        node = state.get_node_id_by_public_key(public)
        return is_own_reply(told, node) and _fits(told.message_object_trees[0], state.object_store)


def is_own_reply(told: PushMessagesRequest, node: int | None) -> bool:
    """Whether this is one reply of a node to the coordinator, whose objects are a chain of at most three."""
    if len(told.messages_list) != 1 or len(told.message_object_trees) != 1:
        return False
    message, tree = told.messages_list[0], told.message_object_trees[0]
    about, names = message.metadata, [tree.object_id]
    is_named = about.message_id == tree.object_id and is_valid_sha256_hash(about.reply_to_message_id)
    while len(tree.children) == 1 and len(names) < 3:
        tree = tree.children[0]
        names.append(tree.object_id)
    return (
        is_named
        and not tree.children
        and len(set(names)) == len(names)  # one that hangs on itself is never forgotten
        and all(map(is_valid_sha256_hash, names))
        and about.src_node_id == node
        and about.dst_node_id == SUPERLINK_NODE_ID
        and about.message_type == MessageType.QUERY
        and not about.group_id
        and isfinite(about.created_at)
        and isfinite(about.ttl)
        and (message.HasField("error") or message.content.ByteSize() == 0)
    )


def _fits(tree: ObjectTree, store: Any) -> bool:
    """Whether what is known of a chain's objects is what the chain says: so no two chains grow to a longer one."""
    if tree.object_id in store and store.get_object_tree(tree.object_id) != tree:
        return False
    return all(_fits(child, store) for child in tree.children)


async def _serve(order: Order, app: Any, node_of: Signed) -> None:
    doors = Doors()
    state = app.state.linkstate_factory
    inside = Replying(Returning(app, state), state)
    shown = PublicGate(inside, node_of, doors.welcome, order.largest)
    local = LocalServer(_config(LocalGate(app, order.token), lifespan="on"))
    public = GuardedServer(_config(shown, lifespan="off"), doors, _tls(order))
    await asyncio.gather(
        local.serve([socket(fileno=order.local)]), public.serve([socket(fileno=order.public)])
    )


def _config(app: Any, lifespan: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=70,
        timeout_graceful_shutdown=1,
    )


def _tls(order: Order) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(order.certificate, order.key)
    return context


def _end_with(pipe: Any) -> None:
    while pipe.read(1):
        pass
    os._exit(0)


def _set_limits() -> None:
    """Many descriptors; and no file of it grows for ever: what a node makes it log could fill the disk.

    Python ignores the signal, and what logs takes an error in its stride.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (LONGEST_LOG, LONGEST_LOG))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


if __name__ == "__main__":
    main()
