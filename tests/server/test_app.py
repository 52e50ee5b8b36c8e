"""The ServerApp: it waits for the sites and hands over the wire, no more."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.app import Context, RecordDict, UserConfigValue

from federation import origins
from federation.errors import InputError, RosterError, ShadowedPackage
from federation.round.transport import Arrival, Outgoing, Transport
from server import app as server_app
from server.app import app, await_sites
from simulations.flower import LocalGrid, flower_world


def grid_of(world: Transport) -> LocalGrid:
    """The Grid below a simulated world."""
    grid = vars(world)["_grid"]
    assert isinstance(grid, LocalGrid)
    return grid


def context(**config: UserConfigValue) -> Context:
    """What Flower tells a ServerApp."""
    return Context(1, 1, {}, RecordDict(), dict(config))


def test_the_coordinator_gets_paths_and_a_wire_to_every_site(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[Path, Path, Path, Path]] = []

    def serve(plan: Path, roster: Path, state: Path, transport: Transport, identity: Path) -> None:
        served.append((plan, roster, state, identity))
        transport.send([Outgoing(address, b"x") for address in transport.addresses()])
        assert {type(transport.next(10)) for _ in range(2)} == {Arrival}

    monkeypatch.setitem(sys.modules, "server.serve", SimpleNamespace(serve=serve))
    with flower_world({"a": lambda data: data, "b": lambda data: data}) as world:
        app(grid_of(world), context(plan="/p/plan.toml", roster="/r", state="/s", sites=2, identity="/k"))
    assert served == [(Path("/p/plan.toml"), Path("/r"), Path("/s"), Path("/k"))]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"plan": "", "roster": "/r", "state": "/s", "sites": 2},
        {"plan": "/p", "roster": "/r", "state": "", "sites": 2},
        {"plan": "/p", "roster": "", "state": "/s", "sites": 2},
        {"plan": "/p", "state": "/s", "sites": 2},
        {"plan": "/p", "roster": "/r", "state": "/s"},
        {"plan": "/p", "roster": "/r", "state": "/s", "sites": 0},
        {"plan": "/p", "roster": "/r", "state": "/s", "sites": True},
        {"plan": "/p", "roster": "/r", "state": "/s", "sites": "2"},
    ],
    ids=str,
)
def test_a_call_without_plan_roster_state_or_sites_is_refused(config: dict[str, UserConfigValue]) -> None:
    with flower_world({"a": lambda data: data}) as world, pytest.raises(InputError):
        app(grid_of(world), context(**config))


def test_a_hidden_package_is_named_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        origins, "find_spec", lambda name: ModuleSpec(name, None, origin="/home/me/privacy.py")
    )
    with (
        flower_world({"a": lambda data: data}) as world,
        pytest.raises(ShadowedPackage, match=r"/home/me/privacy\.py hides our package privacy"),
    ):
        app(grid_of(world), context(plan="/p/plan.toml", roster="/r", state="/s", sites=1))


def test_waiting_for_sites_ends_with_a_roster_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_app, "_PAUSE", 0.01)
    with flower_world({"a": lambda data: data}) as world:
        await_sites(world, 1, 0)
        with pytest.raises(RosterError, match="1 of 2 sites"):
            await_sites(world, 2, 0.05)
