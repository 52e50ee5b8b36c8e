"""Models of many millions of parameters: what one costs in nanoseconds and bytes a parameter.

    python -m benchmarks.protocol.large draws
    python -m benchmarks.protocol.large machines 1000000 10000000 100000000
    python -m benchmarks.protocol.large stored 1000000 10000000 100000000 1000000000
    python -m benchmarks.protocol.large protocol 1000000 10000000 100000000

writes its part of large.md. `machines` is a round of four sites' machines of secure aggregation, `stored` one whose
vectors come in blocks and whose masked vectors lie in files, `protocol` two rounds of
`federation simulate --engine protocol` with four sites, a colluder, a dropout and unit "client". Each size runs in
a process of its own, whose peak is the operating system's. What else the machine did is told as its load.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.protocol.cohort import CONTEXT, Cohort
from benchmarks.results import Rows, keep, table
from benchmarks.timing import least
from federation.kinds.base import grid
from federation.kinds.noised import noised
from federation.spool import Spool
from privacy.mechanism.excess import Levels
from privacy.mechanism.gaussian import GaussianMechanism
from privacy.mechanism.noise import VARIANCE, Stream
from privacy.secagg.ring import RingVector
from privacy.secagg.server import Phase
from simulations.simulate import simulate

PAGE = Path(__file__).with_name("large.md")
HEAD = (
    "# Large models\n\n"
    "Written by `python -m benchmarks.protocol.large`, part by part, which says what is measured."
)
SITES, BITS, STORED_BITS = 4, 27, 28
DRAWN = 1 << 22
PLAN = """task = "benchmarks.protocol.large_task:task"

[federation]
name = "flat"
rounds = 2
seed = 7

[cohort]
size = "all"
minimum = 4
weights = "uniform"
deadline_seconds = 36000

[training]
optimizer = "sgd"
learning_rate = 0.5
local_steps = 1
sample_rate = 1.0

[privacy]
unit = "client"
noise = "distributed"
epsilon = 7.0
delta = 1e-5
clipping_norm = 1.0

[secure_aggregation]
colluders = 1
dropouts = 1
transcripts = false

[server]
optimizer = "average"
learning_rate = 1.0

[evaluation]
holdout = 0.2
metrics = ["accuracy"]
"""


def draws() -> None:
    """Encode and noise, in nanoseconds of the processor a parameter."""
    rows: Rows = {}
    for name, dimension, shares in (("usual", 10**6, 2), ("wide, k = 5", 10**8, 2)):
        whole = GaussianMechanism(1.0, 1.0, 1.0, shares, dimension)
        rows[name] = _drawn(whole)
    keep(
        "Encode and noise",
        table(["noise", "encode", "and one part", "and two parts"], rows),
        page=PAGE,
        head=HEAD,
    )


def _drawn(mechanism: GaussianMechanism) -> list[str]:
    """As many numbers as there is time for, by the mechanism of a model of its own size."""
    levels, stream = Levels(3, (0, 1)), Stream(bytes(32))
    codec, vector = grid(mechanism, 1.0, SITES, levels.most(mechanism.width)), _unit(DRAWN)

    def work(*variances: int) -> Callable[[], object]:
        # Fresh mechanisms of the measured length have the width that is asked for.
        sized = _sized(mechanism)
        return lambda: noised(codec, vector, 1.0, [sized.noise_blocks(stream, each) for each in variances])

    times = least({"bare": work(), "one": work(VARIANCE), "two": work(*levels.parts)})
    return [f"{1e6 * times[name] / DRAWN:.1f} ns" for name in ("bare", "one", "two")]


def _sized(mechanism: GaussianMechanism) -> GaussianMechanism:
    sized = GaussianMechanism(1.0, mechanism.noise_multiplier, 1.0, mechanism.shares, DRAWN)
    sized.__dict__["width"] = mechanism.width
    return sized


def _unit(length: int) -> torch.Tensor:
    vector = torch.rand(length, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    return vector / torch.linalg.vector_norm(vector) * 0.999


def machines(length: int) -> dict[str, float]:
    """A round of four sites' machines; the sum is checked."""
    vector = np.arange(length, dtype=np.uint32)
    vector &= np.uint32(2 ** (BITS - 3) - 1)
    start = time.process_time()
    cohort = Cohort(SITES, BITS, vector).run()
    spent = time.process_time() - start
    total = cohort.machine.result
    assert total is not None
    for at in range(0, length, 1 << 20):
        assert np.array_equal(total[at : at + (1 << 20)], SITES * vector[at : at + (1 << 20)])
    return {"cpu": spent}


class Numbers:
    """A vector that nobody holds: each element follows from its place."""

    def __init__(self, length: int) -> None:
        self.shape = (length,)

    def __getitem__(self, span: slice) -> RingVector:
        found = np.arange(*span.indices(self.shape[0]), dtype=np.uint32)
        found &= np.uint32(2 ** (STORED_BITS - 2) - 1)
        return found


def stored(length: int) -> dict[str, float]:
    """The same, each masked vector written to a file and read from it."""
    vector = Numbers(length)
    start, began = time.process_time(), time.monotonic()
    cohort = Cohort(SITES, STORED_BITS, vector)
    while cohort.machine.phase is not Phase.MASK:
        cohort.step()
    for message in cohort.inbox:
        spool, client = Spool(), cohort.clients[message.to]
        client.accept(message.data)
        client.mask_into(vector, CONTEXT, spool)
        cohort.inbox = cohort.machine.receive(message.to, spool.content) or cohort.inbox
        spool.close()
    cohort.run()
    spent, wall = time.process_time() - start, time.monotonic() - began
    total = cohort.machine.result
    assert total is not None
    for at in range(0, length, 1 << 20):
        span = slice(at, at + (1 << 20))
        assert np.array_equal(total[span], SITES * vector[span])
    return {"cpu": spent, "wall": wall}


def protocol(length: int) -> dict[str, float]:
    """Two rounds of a whole federation in one process."""
    os.environ["FLAT_LENGTH"] = str(length)
    with TemporaryDirectory() as folder:
        plan, sites = Path(folder, "plan.toml"), Path(folder, "sites")
        plan.write_text(PLAN)
        sites.mkdir()
        for slot in range(SITES):
            rows = [f"{(slot * 7 + row) % 10 / 10},{row % 3 / 3},{row % 2}" for row in range(20)]
            Path(sites, f"site{slot}.csv").write_text("\n".join(("a,b,y", *rows)) + "\n")
        start, began = time.process_time(), time.monotonic()
        report = simulate(plan, sites, Path(folder, "run"), engine="protocol", baseline=False, public=True)
        rounds = sum(each.seconds for each in report.rounds)
        return {"cpu": time.process_time() - start, "wall": time.monotonic() - began, "rounds": rounds}


PARTS: dict[str, Callable[[int], dict[str, float]]] = {
    "machines": machines,
    "stored": stored,
    "protocol": protocol,
}
TITLES = {
    "machines": "The machines alone",
    "stored": "The machines alone, vectors in blocks and masked vectors in files",
    "protocol": "The whole protocol",
}


def measured(part: str, length: int) -> dict[str, float]:
    """A part at one length, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.protocol.large", "only", part, str(length)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """The part that is asked for."""
    part, *rest = sys.argv[1:]
    if part == "draws":
        draws()
        return
    if part == "only":
        name, length = rest[0], int(rest[1])
        found = PARTS[name](length)
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps(found))
        return
    rows: Rows = {}
    for length in map(int, rest):
        found, load = measured(part, length), os.getloadavg()[0]
        each = found["peak"] / length
        rows[f"{length:,}"] = [
            f"{found['peak'] / 2**20:,.0f}",
            f"{each:.0f}",
            f"{found['cpu']:.1f}",
            f"{load:.0f}",
        ]
        keep(
            TITLES[part],
            table(["parameters", "peak, MiB", "bytes a parameter", "seconds of the processor", "load"], rows),
            page=PAGE,
            head=HEAD,
        )


if __name__ == "__main__":
    main()
