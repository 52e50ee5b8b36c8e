"""How time grows with the clients of a round, and memory with them and with the population behind them.

    python -m benchmarks.simulation.growth CLIENTS [POPULATION]

measures one size in this process, and prints what it found as JSON: the peak of memory is a process's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.results import Rows, keep, table
from benchmarks.simulation.ours import whole
from benchmarks.simulation.plans import name_of
from benchmarks.simulation.workloads import WORKLOADS, Workload
from federation.model.task import Dataset

SIZES = (100, 1_000, 10_000)
POPULATIONS = (1_000, 100_000, 1_000_000)
ROUNDS = 24
PATIENCE = 600.0
Found = dict[str, float]


def main() -> None:
    """Each size in a fresh process; what takes too long is said to."""
    keep("Growth", *(_grown(noise) for noise in ("none", "distributed")), _populated())


def _grown(noise: str) -> str:
    found = {size: _asked(str(size), str(size), noise) for size in SIZES}
    base, rows = found[SIZES[0]], Rows()
    for size, one in found.items():
        if one is None or base is None:
            rows[f"{size:,}"] = [f"not done in {PATIENCE:.0f} s", "", ""]
            continue
        times = one["round"] / base["round"]
        rows[f"{size:,}"] = [f"{one['round']:,.0f} ms", f"{times:.0f}x", f"{one['peak'] / 1024:,.0f} MiB"]
    return table([f"MLP, noise {noise}: clients a round", "whole round", "against 100", "peak memory"], rows)


def _populated() -> str:
    rows = Rows()
    for size in POPULATIONS:
        one = _asked("100", str(size), "none")
        rows[f"{size:,}"] = ["not done"] if one is None else [f"{one['peak'] / 1024:,.0f} MiB"]
    return table(["population, of which each round draws 100 clients", "peak memory"], rows)


def _asked(*words: str) -> Found | None:
    call = [sys.executable, "-m", "benchmarks.simulation.growth", *words]
    try:
        done = subprocess.run(call, capture_output=True, check=True, timeout=PATIENCE, text=True)
    except subprocess.TimeoutExpired:
        return None
    print(f"  {' of '.join(words[:2])}: {done.stdout.strip()}", file=sys.stderr, flush=True)
    answer: Found = json.loads(done.stdout)
    return answer


@dataclass(frozen=True)
class Clients:
    """A population of virtual sites (`simulations.virtual`), whose records are made when they are asked for."""

    work: Workload

    def __len__(self) -> int:
        return self.work.clients

    def name(self, place: int) -> str:
        """By the number of the client."""
        return name_of(place)

    def load(self, name: str) -> Dataset:
        """What a client holds."""
        return Dataset(*self.work.records_of(int(name[1:])))

    def held_out(self) -> Dataset:
        """One record more."""
        return self.load(name_of(self.work.clients)).at(torch.arange(1))


def alone(clients: int, population: int, noise: str) -> Found:
    """Whole rounds with so many clients of a population, in this process."""
    work = WORKLOADS["mlp"].of(population)
    rounds = whole(Clients(work), work, noise, ROUNDS, own=True, cohort=clients)
    return {"round": rounds.spent, "seconds": rounds.seconds, "peak": _peak()}


def _peak() -> float:
    """KiB of this process at most. What `getrusage` says is that of its parent, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    print(json.dumps(alone(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
