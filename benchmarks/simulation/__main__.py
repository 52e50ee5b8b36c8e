"""How fast federations are simulated, as ratios to the plain PyTorch loop over the same minibatches.

    python -m benchmarks.simulation [PART ...]

A part is a workload (mlp, logistic, cnn, dp-mlp, dp-cnn), `growth`, `starting` or `sampler`; without one, all.
Works take turns in one process with one thread; of each the least processor time counts. Each part writes its own
part of results.md; of some of the workloads the table is only printed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter, process_time

import torch

from benchmarks.results import keep
from benchmarks.simulation import growth, sampler, starting
from benchmarks.simulation.opacus import opacus_round
from benchmarks.simulation.ours import Cohort, Rounds, with_sites
from benchmarks.simulation.page import Measured, order, simulated, trained
from benchmarks.simulation.plans import NOISES
from benchmarks.simulation.workloads import WORKLOADS, Workload, raw_round
from benchmarks.timing import Work, least
from privacy.errors import PrivacyError

PARTS: Mapping[str, Callable[[], None]] = {
    "growth": growth.main,
    "starting": starting.main,
    "sampler": sampler.main,
}


def main(parts: list[str]) -> None:
    """Measure these parts, or all; each is written when it is there."""
    if unknown := set(parts) - set(WORKLOADS) - set(PARTS):
        sys.exit(f"no part is called {min(unknown)}; one of {', '.join([*WORKLOADS, *PARTS])}")
    torch.set_num_threads(1)
    named = [part for part in parts if part in WORKLOADS]
    if named or not parts:
        found = {work.name: measure(work) for work in order(named)}
        if named:
            print(trained(found), simulated(found), sep="\n\n")
        else:
            keep("Simulated training", trained(found), simulated(found))
    for name, part in PARTS.items():
        if not parts or name in parts:
            say(name)
            part()


def measure(work: Workload, seconds: float = 6.0) -> Measured:
    """All works of a workload in turns: training alone, then whole rounds, and so again."""
    say(f"{work.name}: {work.clients} clients")
    works, turns = works_of(work), 1 if work.cores else 2
    found = Measured(work, dict.fromkeys(works, float("inf")))
    with tempfile.TemporaryDirectory() as folder:
        run = with_sites(Path(folder), work)
        for turn in range(turns):
            again = least(works, seconds / turns, runs=1, clock=perf_counter if work.cores else process_time)
            found.times = {name: min(spent, found.times[name]) for name, spent in again.items()}
            say(f"  turn {turn + 1}: " + ", ".join(f"{name} {spent:.1f} ms" for name, spent in again.items()))
            for noise in noises_of(work):
                _whole(found, noise, run)
    return found


def _whole(found: Measured, noise: str, run: Callable[[str], Rounds]) -> None:
    """Whole rounds once more, where they are not refused."""
    if noise in found.refused:
        return
    try:
        again = run(noise)
    except PrivacyError as error:
        found.refused[noise] = "refused: too many parameters"
        say(f"  {noise}: {error}")
        return
    say(f"  {noise}: {again.spent:.1f} ms a round, {again.clients_a_second:,.0f} clients a second")
    before = found.rounds.get(noise)
    if before is None or again.spent < before.spent:
        found.rounds[noise] = again


def works_of(work: Workload) -> dict[str, Work]:
    """Training alone, by name."""
    cohort = Cohort.of(work)
    batches, model = cohort.minibatches(), work.initial()
    start = [param.detach().clone() for param in model.parameters()]
    works: dict[str, Work] = {
        "raw": lambda: raw_round(work, model, start, batches),
        "site by site": cohort.site_by_site,
        "cohort": cohort.as_one,
    }
    if work.cores:
        works["all cores"] = lambda: cohort.as_one(cores=True)
    if work.privately:
        works["opacus"] = opacus_round(work, start, batches)
    return works


def noises_of(work: Workload) -> tuple[str, ...]:
    """The places of noise that a workload is simulated with: DP-SGD in local steps has one."""
    if work.cores:
        return NOISES[:2]  # a site by itself may not noise so many parameters
    return ("site",) if work.privately else NOISES


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
