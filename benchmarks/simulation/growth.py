"""How time and memory grow with the clients of a round, and memory with the population behind it.

    python -m benchmarks.simulation.growth CLIENTS

measures one size in this process, and prints what it found as JSON: the peak of memory is a process's own.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import keep, table
from benchmarks.simulation.ours import whole
from benchmarks.simulation.plans import write_sites
from benchmarks.simulation.workloads import WORKLOADS
from benchmarks.timing import once

SIZES = (100, 1_000, 10_000)
PATIENCE = 600.0


def main() -> None:
    """Each size in a fresh process; what takes too long is said to."""
    found = {size: _asked(size) for size in SIZES}
    base = found[SIZES[0]]
    rows = {}
    for size, one in found.items():
        if one is None or base is None:
            rows[f"{size:,}"] = [f"not done in {PATIENCE:.0f} s", "", "", ""]
            continue
        times = one["round"] / base["round"]
        rows[f"{size:,}"] = [
            f"{one['round']:,.0f} ms",
            f"{times:.1f}x",
            f"{one['seconds']:.0f} s",
            f"{one['peak'] / 1024:,.0f} MiB",
        ]
    head = ["clients a round: MLP, no noise", "whole round", "against 100", "run of 24 rounds", "peak memory"]
    keep("Growth", table(head, rows))


def _asked(size: int) -> dict[str, float] | None:
    words = [sys.executable, "-m", "benchmarks.simulation.growth", str(size)]
    try:
        done = subprocess.run(words, capture_output=True, check=True, timeout=PATIENCE, text=True)
    except subprocess.TimeoutExpired:
        return None
    print(f"  {size:,}: {done.stdout.strip()}", file=sys.stderr, flush=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def alone(size: int) -> dict[str, float]:
    """One size, in this process."""
    import torch

    torch.set_num_threads(1)
    work = WORKLOADS["mlp"].of(size)
    with tempfile.TemporaryDirectory() as folder:
        sites = Path(folder)
        written = once(lambda: write_sites(sites, work, own=True))
        rounds = whole(sites, work, "none", rounds=24, own=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"round": rounds.spent, "seconds": rounds.seconds, "peak": peak, "written": written}


if __name__ == "__main__":
    print(json.dumps(alone(int(sys.argv[1]))))
