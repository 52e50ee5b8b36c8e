"""Intruders at the ports of a coordinator: all that Flower offers is asked for, in every way that they have."""

from __future__ import annotations

import io
import zipfile
from itertools import product
from typing import Any

from flwr.proto.control_pb2 import StartRunRequest

from tests.stories.real.intruder import Answer, Intruder, Offer, listening

PROJECT = """[project]
name = "hostile"
version = "1.0.0"
dependencies = []
[tool.flwr.app]
publisher = "nobody"
[tool.flwr.app.components]
serverapp = "hostile:server"
clientapp = "hostile:client"
"""
CODE = "from flwr.app import ServerApp, ClientApp\nserver, client = ServerApp(), ClientApp()\n"
FOR_NODES = frozenset(
    f"/v1/fleet/{name}"
    for name in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "pull-object",
        "push-object",
        "confirm-message-received",
    )
)
DISGUISES = (
    "{}/",
    "/{}",
    "{}?",
    "{}%00",
    "{};x",
    "/v1/fleet/..{}",
    "/v1/fleet/pull-messages/../../..{}",
    "/v1/fleet/%2e%2e/%2e%2e{}",
    "/v1/fleet/pull-messages%2f..%2f..%2f..{}",
)
"""Other ways to write a path, that a router may take for it and a gate may not."""
_LOOPBACK = ("0100007F", "00000000000000000000000001000000")
_GUESSES: tuple[dict[str, str], ...] = ({}, {"authorization": "Bearer x"}, {"x-federation-token": "x"})


def refused_to_strangers(intruder: Intruder, offers: tuple[Offer, ...]) -> None:
    """Whoever has no key gets nothing from any path, however it is asked."""
    for offer in offers:
        answer = intruder.ask(offer)
        expected = (401, 403) if offer.path in FOR_NODES else (403, 404, 405)
        assert answer.status in expected, (offer, answer)
        assert len(answer.body) < 200, (offer, answer)
    assert submit(intruder).status in (403, 404)
    for offer in offers:
        if offer.path.startswith("/v1/control/") and offer.path.endswith(
            ("-run", "-runs", "-node", "-nodes")
        ):
            for disguise in DISGUISES:
                answer = intruder.ask(offer, path=disguise.format(offer.path))
                assert answer.status in (0, 307, 400, 401, 403, 404, 405), (offer, disguise, answer)


def refused_to_nodes(intruder: Intruder, offers: tuple[Offer, ...]) -> None:
    """A site of the roster has no more of Flower's interface than it needs, whatever it signs."""
    for offer in offers:
        if offer.path not in FOR_NODES:
            answer = intruder.ask(offer)
            assert answer.status in (403, 404, 405), (offer, answer)


def refused_for_others(intruder: Intruder, offers: tuple[Offer, ...]) -> None:
    """What a node asks in another's name (the intruder's messages all claim to be that node's) is refused."""
    for offer in offers:
        if offer.path in FOR_NODES:
            answer = intruder.ask(offer)
            assert answer.status in (400, 401, 403), (offer, answer)


def refused_without_token(processes: list[int], public: int, offers: tuple[Offer, ...]) -> int:
    """Another user of the server's machine gets nothing from the ports of loopback; how many there are."""
    ports = listening(processes)
    assert public in ports
    inner = [port for port in ports if port != public]
    for port in inner:
        assert ports[port] in _LOOPBACK, "listens to the network"
        with Intruder(port, None) as intruder:
            for offer, headers in product(offers, _GUESSES):
                answer = intruder.ask(offer, headers)
                assert answer.status in (0, 401, 403, 404, 405), (port, offer, answer)
                assert len(answer.body) < 200, (port, offer, answer)
    return len(inner)


def submit(intruder: Intruder) -> Answer:
    """Submit an app of somebody else's."""
    request: Any = StartRunRequest()
    request.fab.content = hostile_app()
    return intruder.send("POST", "/v1/control/start-run", request.SerializeToString())


def hostile_app() -> bytes:
    """A bundle as `flwr build` makes it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as bundle:
        bundle.writestr("pyproject.toml", PROJECT)
        bundle.writestr("hostile.py", CODE)
    return packed.getvalue()
