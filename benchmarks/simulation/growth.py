"""How time grows with the clients of a round, and memory with them and with the population behind them.

    python -m benchmarks.simulation.growth CLIENTS [POPULATION]

measures one size in this process, and prints what it found as JSON: the peak of memory is a process's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import MappingProxyType

import torch

from benchmarks.results import Rows, keep, table
from benchmarks.simulation.plans import name_of, plan_of
from benchmarks.simulation.workloads import WORKLOADS, Workload
from benchmarks.timing import once
from clients.training.isolation import Tally
from federation.model.params import Layout
from federation.model.task import Dataset, Task, cross_entropy
from federation.round.cohort import sample_places
from federation.round.messages import Member
from federation.round.terms import Terms
from simulations.sums.adding import Adding, all_at_once

SIZES = (100, 1_000, 10_000)
POPULATIONS = (1_000, 100_000, 1_000_000)
ROUNDS = 4
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
    return table([f"MLP, noise {noise}: clients a round", "one sum", "against 100", "peak memory"], rows)


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
class Population(Mapping[str, Dataset]):
    """Clients whose records are made when they are asked for."""

    work: Workload

    def __getitem__(self, name: str) -> Dataset:
        return Dataset(*self.work.records_of(int(name[1:])))

    def __iter__(self) -> Iterator[str]:
        return map(name_of, range(self.work.clients))

    def __len__(self) -> int:
        return self.work.clients


def alone(clients: int, population: int, noise: str) -> Found:
    """Sums over so many clients of a population, in this process: terms, training, encoding, noise and the ring."""
    torch.set_num_threads(1)
    work = WORKLOADS["mlp"].of(population)
    plan, start = plan_of(work, noise, ROUNDS, own=True), work.initial()
    plan = plan.model_copy(update={"cohort": plan.cohort.model_copy(update={"size": clients})})
    layout, task = Layout.of(start), Task(work.name, work.model, cross_entropy)
    works = all_at_once(plan, task, Population(work), MappingProxyType({}), "cpu", Tally())
    adding, params, times = Adding(works, {}, Tally()), layout.flatten(start), []
    for number in range(1, ROUNDS + 1):
        chosen = sample_places(plan, population, number)
        members = tuple(Member(name_of(place), work.records) for place in chosen)
        terms = Terms(plan, bytes(16), number, 1, members, layout.dimension)
        times.append(once(lambda terms=terms: adding(terms, params)))
    return {"round": median(times[1:]), "peak": _peak()}


def _peak() -> float:
    """KiB of this process at most. What `getrusage` says is that of its parent, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    print(json.dumps(alone(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
