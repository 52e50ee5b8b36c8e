"""Three institutions and a coordinator over a real Flower: processes, sockets and all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clients.door.callers import Callers
from clients.door.service import SiteService
from federation.identity.keys import create, load_private, load_public
from federation.identity.roles import create_site
from federation.identity.roster_file import add_to_roster, load_roster, sign_roster
from federation.plan.plan import parse
from simulations.simulate import simulate
from tests.patience import patience
from tests.plans import text_of
from tests.stories.deployment import ROOT, Deployment, write_app
from tests.worlds import name_coordinator

SITES = ("north", "south", "west")

ECHO_SERVER = '''
"""A coordinator that asks every site twice, writes down what they said, and asks no more."""

import json
import time
from pathlib import Path

from flwr.serverapp import ServerApp

from federation.round.flower import GridTransport
from federation.round.transport import Arrival, Outgoing
from server.app import await_sites

app = ServerApp()


@app.main()
def main(grid, context):
    transport = GridTransport(grid)
    await_sites(transport, context.run_config["sites"], 600)
    addresses, rounds, seconds = transport.addresses(), [], []
    for number in (1, 2):
        started = time.monotonic()
        transport.send([Outgoing(address, b"hello %d" % number) for address in addresses])
        replies = {}
        while isinstance(arrival := transport.next(600), Arrival):
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
    """A coordinator of a test's own."""
    with tempfile.TemporaryDirectory(prefix="fed-") as folder:
        yield write_app(Path(folder) / "echo", "echo", ECHO_SERVER, {"result": "", "sites": 0})


@pytest.mark.waits
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
            stack.enter_context(SiteService(partial(site, name), path, Callers(same_user=True)))
        deployment = stack.enter_context(Deployment(sockets))
        log = deployment.run({"result": str(result), "sites": len(SITES)}, 60, app=echo_app)
        assert "12345" not in log + deployment.logs()
    assert "the coordinator is done" in log
    told = json.loads(result.read_text())
    assert len(told["addresses"]) == 3
    first, second = (sorted(replies.values()) for replies in told["rounds"])
    assert first == [f"{name} heard hello 1, its message 1" for name in SITES]
    assert second == [f"{name} heard hello 2, its message 2" for name in SITES[:2]]
    assert deployment.leftovers() == []


@pytest.mark.minutes
@pytest.mark.waits
def test_three_institutions_train_over_a_real_flower_and_get_what_a_simulation_gets(tmp_path: Path) -> None:
    """Real SuperLink, real SuperNodes, `federation join` as the sites; params to the bit those of `protocol`."""
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    told: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory(prefix="fed-") as name:
        folder = Path(name)
        institutions = write_institutions(folder / "sites", parse(PLAN).digest)
        roster = folder / "roster.toml"
        sockets = {site: folder / site / "socket" for site in institutions}
        with ExitStack() as stack:
            for site, path in institutions.items():
                stack.enter_context(joined(path, sockets[site], told))
            deployment = stack.enter_context(Deployment(sockets))
            state = tmp_path / "served"
            files = {"plan": str(plan), "roster": str(roster), "state": str(state)}
            log = deployment.run({**files, "sites": 3, "json_log": True}, 60)
        simulated = tmp_path / "simulated"
        simulate(parse(PLAN), folder / "sites", simulated, engine="protocol", progress=lambda *_: None)
    served = load_file(state / "params.safetensors")
    expected = load_file(simulated / "params.safetensors")
    assert served.keys() == expected.keys()
    assert all(torch.equal(served[name], expected[name]) for name in served)
    assert deployment.leftovers() == []
    check_logs(log, told)


@pytest.mark.minutes
@pytest.mark.waits
def test_three_sites_are_their_own_nodes_and_get_what_a_simulation_gets(tmp_path: Path) -> None:
    """One process for each site, over TLS with node keys; params to the bit those of `protocol`."""
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    told: dict[str, list[Any]] = {}
    with tempfile.TemporaryDirectory(prefix="fed-") as name:
        folder = Path(name)
        institutions = write_institutions(folder / "sites", parse(PLAN).digest, with_nodes=True)
        roster = folder / "roster.toml"
        nodes = [entry.node for entry in load_roster(roster).read().entries]
        with ExitStack() as stack:
            deployment = stack.enter_context(Deployment.of_nodes(nodes))
            for path in institutions.values():
                server = (
                    f'address = "localhost:{deployment.port}"\ncertificate = "{deployment.certificate}"\n'
                )
                path.write_text(f"{path.read_text()}[server]\n{server}")
                stack.enter_context(joined(path, None, told))
            state = tmp_path / "served"
            files = {"plan": str(plan), "roster": str(roster), "state": str(state)}
            log = deployment.run({**files, "sites": 3, "json_log": True}, 60)
            assert "get-fab" not in deployment.logs() and "get-run" not in deployment.logs()
        simulated = tmp_path / "simulated"
        simulate(parse(PLAN), folder / "sites", simulated, engine="protocol", progress=lambda *_: None)
    served = load_file(state / "params.safetensors")
    expected = load_file(simulated / "params.safetensors")
    assert all(torch.equal(served[name], expected[name]) for name in expected)
    assert deployment.leftovers() == []
    check_logs(log, told, begin=["ready", "connected"])


def check_logs(
    log: str, told: dict[str, list[Any]], begin: Sequence[str] = ("ready", "warning", "waiting")
) -> None:
    """One line per event on both sides, and no other library's."""
    assert "HTTP Request" not in log
    server = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["event"] for line in server] == [
        "waiting", "run_begins", *["round_begins", "round_ends"] * 2, "run_ends",
    ]  # fmt: skip
    begins = server[1]
    assert (begins["sites"], begins["absent"], begins["plan"]) == ([*SITES], [], parse(PLAN).digest)
    assert [(line["round"], line["survivors"]) for line in server if line["event"] == "round_ends"] == [
        (1, 3), (2, 3),
    ]  # fmt: skip
    for name in SITES:
        assert [line["event"] for line in told[name] if line["event"] not in ("invited", "update_sent")] == [
            *begin, "run_begins", *["round_begins", "round_ends"] * 2, "run_ends", "stopped",
        ]  # fmt: skip
        assert {line["run"] for line in told[name] if "run" in line} == {begins["run"]}


def write_institutions(folder: Path, digest: str, *, with_nodes: bool = False) -> dict[str, Path]:
    """Three sites with a table, a policy that approves the plan, and a journal each; a roster that they trust."""
    files = {}
    roster = folder.parent / "roster.toml"
    consortium, public = create(folder.parent / "consortium", "consortium", "the consortium", 1)
    for place, name in enumerate(SITES):
        site = folder / name
        site.mkdir(parents=True)
        rows = [f"{20 + (7 * row + 11 * place) % 70},{(row + place) % 2}" for row in range(30)]
        (site / "train.csv").write_text("\n".join(["age,ill", *rows]) + "\n")
        (site / "test.csv").write_text("\n".join(["age,ill", *rows[:5]]) + "\n")  # else each holds out others
        files[name] = site / "site.toml"
        files[name].write_text(SITE.format(name=name, digest=digest, consortium=load_public(public).key))
        make = create_site if with_nodes else create
        own = make(site / "keys", name, f"hospital {name}", 30)[1]
        add_to_roster(roster, load_public(own))
    name_coordinator(roster)
    sign_roster(roster, load_private(consortium))
    return files


@contextmanager
def joined(site: Path, socket: Path | None, told: dict[str, list[Any]]) -> Iterator[None]:
    """`federation join` in a process of its own, until the context ends; its log is put into `told`."""
    command = [sys.executable, "-c", "from federation.cli.start import main; main()"]
    door = [] if socket is None else ["--socket", str(socket), "--same-user"]
    with subprocess.Popen(
        [*command, "join", str(site), "--yes", "--json-log", *door],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stderr is not None
            before = []  # what was looked at before
            while json.loads(first := process.stderr.readline())["event"] != "ready":
                before.append(json.loads(first)["event"])
            assert before[-1] == "checked"
            yield
        finally:
            process.terminate()
            process.wait(timeout=patience(20))
        told[site.parent.name] = [json.loads(line) for line in [first, *process.stderr]]


PLAN = text_of(
    {"task.features": {"age": {"low": 20, "high": 90}}, "server.learning_rate": 0.1, "evaluation": None},
    name="story",
    rounds=2,
    seed=3,
    target="ill",
    local_steps=3,
    sample_rate=0.5,
    noise="none",
    dropouts=0,
    deadline_seconds=600,  # a busy machine may need some of it
)

SITE = """
[site]
id = "{name}"
keys = "keys/"
journal = "journal.sqlite"
[data]
source = "train.csv"
test = "test.csv"
pool = "patients-2026"
size = 30
[policy]
epsilon_max = inf
delta_max = 1e-5
cohort_minimum = 3
noise = ["none"]
plans = [{{ digest = "{digest}", runs = 2 }}]
[consortium]
keys = ["{consortium}"]
quorum = 1
"""
