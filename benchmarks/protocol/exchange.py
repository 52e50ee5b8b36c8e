"""An exchange with sites that are their own nodes, and with flower-supernode and a ClientApp, in one run.

    python -m benchmarks.protocol.exchange [SITES] [EXCHANGES]

One SuperLink with TLS and node authentication after the other, on loopback; the sites are `federation join`
processes both times, and answer the same frames. Each refuses them: what is measured is the way there and back.
Memory is the resident set of all processes of one site, at rest and at most; pages that processes share are counted
for each. It writes benchmarks/protocol/exchange.md.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.timing import machine
from federation.identity.keys import load_public
from federation.identity.roles import create_site
from federation.quiet import QUIET
from tests import ROOT
from tests.stories.deployment import Deployment, write_app

PAGE = Path(__file__).parent / "exchange.md"
FRAME = 16_384
JOIN = (sys.executable, "-c", "from federation.cli.start import main; main()", "join")
SITE = """
[site]
id = "{name}"
keys = "keys/"
journal = "journal.sqlite"
[data]
source = "train.csv"
pool = "patients"
size = 30
[policy]
epsilon_max = 8.0
delta_max = 1e-5
cohort_minimum = 3
noise = ["distributed"]
tasks = ["tabular-classification"]
[consortium]
keys = ["{key}"]
quorum = 1
[server]
address = "{address}"
certificate = "{certificate}"
"""
SERVER = '''
"""Asks every site the same thing again and again, and writes down how long each exchange took."""

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
    config, transport, seconds = context.run_config, GridTransport(grid), []
    await_sites(transport, config["sites"], 600)
    for _ in range(config["exchanges"]):
        began, replies = time.monotonic(), 0
        transport.send([Outgoing(address, bytes(config["size"])) for address in transport.addresses()])
        while isinstance(transport.next(120), Arrival):
            replies += 1
        assert replies == config["sites"], replies
        seconds.append(time.monotonic() - began)
    Path(config["result"]).write_text(json.dumps(seconds))
'''


@dataclass(frozen=True)
class Figures:
    """Of one way: seconds of each exchange, until the first one could begin, and megabytes of one site."""

    exchanges: Sequence[float]
    start: float
    rest: float
    most: float


def measure(names: Sequence[str], exchanges: int, *, is_node: bool) -> Figures:
    """One deployment, from its start to its end."""
    with tempfile.TemporaryDirectory(prefix="fed-") as folder, ExitStack() as stack:
        place = Path(folder)
        nodes = {name: load_public(create_site(place / name / "keys", name, name, 30)[1]) for name in names}
        points = [bytes.fromhex(public.node or "") for public in nodes.values()]
        keys = {name: place / name / "keys" / f"{name}.node.key" for name in names}
        sockets = {name: place / name / "socket" / "site" for name in names}
        deployment = stack.enter_context(Deployment.of_nodes(points))
        began = time.monotonic()
        for name in names:
            options = [] if is_node else ["--socket", str(sockets[name]), "--same-user"]
            stack.enter_context(_joined(place / name, nodes[name].key, deployment, options))
        start = time.monotonic() - began
        if not is_node:
            deployment.start_supernodes(sockets, keys)
        memory = stack.enter_context(_Memory(place / names[0], deployment.folder / names[0]))
        result = place / "result.json"
        config = {"result": str(result), "sites": len(names), "exchanges": exchanges, "size": FRAME}
        app = write_app(place / "app", "exchange", SERVER, config)
        time.sleep(5.0)
        rest = memory.last
        deployment.run(config, 60.0 + 10.0 * exchanges, app=app)
        return Figures(json.loads(result.read_text()), start, rest, memory.most)


@contextmanager
def _joined(folder: Path, key: str, deployment: Deployment, options: Sequence[str]) -> Iterator[None]:
    """`federation join` of a site, ready; until the context ends."""
    (folder / "train.csv").write_text("age,ill\n" + "\n".join(f"{20 + row},{row % 2}" for row in range(30)))
    site = folder / "site.toml"
    name, address = folder.name, f"localhost:{deployment.port}"
    site.write_text(SITE.format(name=name, key=key, address=address, certificate=deployment.certificate))
    environment = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*JOIN, str(site), "--yes", "--json-log", *options],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "SITE_OF_BENCHMARK": str(folder)},
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if '"event": "ready"' in line:
                break
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


class _Memory:
    """Looks at the resident set of all processes of one site, four times a second."""

    def __init__(self, *marks: Path) -> None:
        self._marks = [str(mark).encode() for mark in marks]
        self.last = self.most = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.25):
            self.last = sum(map(self._megabytes, Path("/proc").glob("[0-9]*")))
            self.most = max(self.most, self.last)

    def _megabytes(self, process: Path) -> float:
        try:
            values = (process / "environ").read_bytes().split(b"\0")
            if not any(value.partition(b"=")[2] in self._marks for value in values):
                return 0.0
            pages = int((process / "statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0.0  # another user's, or gone meanwhile
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def page(sites: int, found: Mapping[str, Figures]) -> str:
    """The figures as a table."""
    rows = [_row(name, of) for name, of in found.items()]
    new, old = (statistics.median(of.exchanges) for of in found.values())
    start = next(iter(found.values())).start
    return f"""# An exchange with {sites} sites

{datetime.now(UTC):%Y-%m-%d}, {machine()}; load {os.getloadavg()[1]:.1f}.
Frames of {FRAME} bytes over a SuperLink on loopback, with TLS and node authentication, one way after the other.
Written by `make bench-exchange`.

| way | seconds, median | at most | MB of a site at rest | at most |
|---|---|---|---|---|
{chr(10).join(rows)}

{old / new:.1f} times as fast. A site was ready {start / sites:.1f} s after it was started.
"""


def _row(name: str, of: Figures) -> str:
    seconds = f"{statistics.median(of.exchanges):.2f} | {max(of.exchanges):.2f}"
    return f"| {name} | {seconds} | {of.rest:.0f} | {of.most:.0f} |"


def main() -> None:
    """Measure both ways, and write them down."""
    sites = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    exchanges = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    names = [f"site-{number}" for number in range(sites)]
    found = {
        "`federation join`": measure(names, exchanges, is_node=True),
        "`join --socket`, flower-supernode, ClientApp": measure(names, exchanges, is_node=False),
    }
    text = page(sites, found)
    PAGE.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
