"""The same work by peers and by us, side by side in one run: the least time of a round by the clock, in turns.

    python -m benchmarks.peers PYTHON [WORKLOAD ...]

PYTHON is that of an environment with the peers in it (`make bench-peers` makes one). A peer that is not there, or
that fails, is said to. Writes peers.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import torch

from benchmarks.results import Rows, keep, table
from benchmarks.simulation.__main__ import noises_of, say, works_of
from benchmarks.simulation.ours import with_sites
from benchmarks.simulation.page import order
from benchmarks.simulation.workloads import Workload
from benchmarks.timing import once

PAGE = Path(__file__).parents[1] / "peers.md"
HEAD = "# Peers\n\nWritten by `make bench-peers`; README.md says how to read it."
PEERS = {"pfl_research": "pfl-research", "flower_ray": "Flower on Ray"}
PACKAGES = ("pfl", "flwr", "ray", "torch", "opacus")
NO_RECORDS = {("pfl_research", True): "clips no record"}  # peer, whether the workload is DP-SGD
PATIENCE = 400.0
Times = dict[str, float]


def main(python: str, names: list[str], turns: int = 2) -> None:
    """Measure, and write the page after each workload."""
    torch.set_num_threads(1)
    rows: Rows = {}
    for work in order(names):
        found: Times = {}
        said: dict[str, str] = {}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(turns):
                for name, value in turn(python, work, Path(folder), said):
                    found[name] = min(value, found.get(name, value))
                    say(f"{work.name}: {name} {value:,.1f}")
        rows[f"{work.name}, {work.clients} clients"] = [*cells(found, said)]
        keep("One round by the clock", versions(python), table(HEADINGS, rows), page=PAGE, head=HEAD)


HEADINGS = ["", "raw loop", "our training", "our whole round", *PEERS.values(), "their start until round 1"]


def turn(python: str, work: Workload, folder: Path, said: dict[str, str]) -> Iterator[tuple[str, float]]:
    """Each work once more, in milliseconds; of what fails, `said` has why."""
    for name, training in works_of(work).items():
        if name != "opacus":
            yield name, min(once(training, perf_counter) for _ in range(3))
    yield "whole", with_sites(folder, work)(noises_of(work)[0]).clocked
    for peer in PEERS:
        reason = NO_RECORDS.get((peer, work.privately)) or said.get(peer)
        if reason is None and (answer := asked(python, peer, work, said)) is not None:
            yield peer, answer["round"]
            yield f"{peer} start", 1e3 * answer["start"]
        elif reason is not None:
            said[peer] = reason


def asked(python: str, peer: str, work: Workload, said: dict[str, str]) -> Times | None:
    """What a peer measured in a process of its own; None, and `said` has why, if it did not."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PAGE.parents[1])}
    words = [python, "-m", f"benchmarks.peers.{peer}", work.name, "3"]
    try:
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
        answer: Times = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        said[peer] = f"not done in {PATIENCE:.0f} s"
    except (OSError, ValueError, IndexError):
        said[peer] = "did not run here"
    else:
        return answer
    return None


def cells(found: Times, said: dict[str, str]) -> Iterator[str]:
    """A row: everything as times the raw loop's speed."""
    raw = found["raw"]
    yield f"{raw:,.1f} ms"
    yield against(raw, min(found.get("cohort", found["site by site"]), found["site by site"]))
    yield against(raw, found["whole"])
    for peer in PEERS:
        yield against(raw, found[peer]) if peer in found else said[peer]
    starts = [f"{found[f'{peer} start'] / 1e3:.0f} s" for peer in PEERS if peer in found]
    yield " / ".join(starts)


def against(raw: float, spent: float) -> str:
    """Milliseconds, and times the speed of the raw loop."""
    return f"{spent:,.1f} ms, {raw / spent:.2g}x"


def versions(python: str) -> str:
    """What is installed beside the peers."""
    code = f"from importlib.metadata import version\nfor name in {PACKAGES}: print(name, version(name))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return f"In the peers' environment: {', '.join(done.stdout.split(chr(10))[:-1])}."


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
