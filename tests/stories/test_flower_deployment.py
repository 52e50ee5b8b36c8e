"""Three institutions and a coordinator over a real Flower: processes, sockets and all."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from clients.service import SiteService
from tests.stories.deployment import Deployment

SITES = ("north", "south", "west")

ECHO_APP = """
[project]
name = "echo"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "tests"
fab-include = ["echo_server.py"]
[tool.flwr.app.components]
serverapp = "echo_server:app"
clientapp = "clients.app:app"
[tool.flwr.app.config]
result = ""
sites = 0
"""

ECHO_SERVER = '''
"""A coordinator that asks every site twice, writes down what they said, and asks no more."""

import json
import time
from pathlib import Path

from flwr.serverapp import ServerApp

from federation.flower import GridTransport
from federation.transport import Arrival, Outgoing
from server.app import await_sites

app = ServerApp()


@app.main()
def main(grid, context):
    transport = GridTransport(grid)
    await_sites(transport, context.run_config["sites"], 60)
    addresses, rounds, seconds = transport.addresses(), [], []
    for number in (1, 2):
        started = time.monotonic()
        transport.send([Outgoing(address, b"hello %d" % number) for address in addresses])
        replies = {}
        while isinstance(arrival := transport.next(60), Arrival):
            replies[arrival.sender] = arrival.data.decode()
        rounds.append(replies)
        seconds.append(round(time.monotonic() - started, 1))
    print("the coordinator is done")
    Path(context.run_config["result"]).write_text(
        json.dumps({"addresses": addresses, "rounds": rounds, "seconds": seconds})
    )
'''


@pytest.fixture
def echo_app() -> Iterator[Path]:
    """A Flower app with a coordinator of its own and our ClientApp, taken from where it is installed."""
    with tempfile.TemporaryDirectory(prefix="fed-") as folder:
        app = Path(folder) / "echo"
        app.mkdir()
        (app / "pyproject.toml").write_text(ECHO_APP)
        (app / "echo_server.py").write_text(ECHO_SERVER)
        yield app


@pytest.mark.slow
def test_bytes_travel_through_a_real_flower_and_a_failing_site_is_silent(
    echo_app: Path, tmp_path: Path
) -> None:
    counts = dict.fromkeys(SITES, 0)
    counting = threading.Lock()

    def site(name: str, data: bytes) -> bytes:
        with counting:
            counts[name] += 1
        if name == "west" and counts[name] == 2:
            raise ValueError("patient 12345")
        return f"{name} heard {data.decode()}, its message {counts[name]}".encode()

    result = tmp_path / "result.json"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fed-")))
        sockets = {name: folder / f"{name}.sock" for name in SITES}
        for name, path in sockets.items():
            stack.enter_context(SiteService(partial(site, name), path))
        deployment = stack.enter_context(Deployment(sockets))
        log = deployment.run({"result": str(result), "sites": len(SITES)}, 100, app=echo_app)
        assert "12345" not in log + deployment.logs()
    assert "the coordinator is done" in log
    told = json.loads(result.read_text())
    assert len(told["addresses"]) == 3
    first, second = (sorted(replies.values()) for replies in told["rounds"])
    assert first == [f"{name} heard hello 1, its message 1" for name in SITES]
    assert second == [f"{name} heard hello 2, its message 2" for name in SITES[:2]]
    assert deployment.leftovers() == []
