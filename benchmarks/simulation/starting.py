"""How long a command takes to answer, from a cold interpreter: wall clock, and time on the processor."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import simulations
from benchmarks.results import keep, table
from federation.quiet import QUIET

COMMAND = (sys.executable, "-c", "from federation.cli.start import main; main()")
AIMS = {"--help": 0.4, "check": 1.0, "budget": 1.5}
TURNS = 4


def main() -> None:
    """Measure, and write the part. The first call of a plan may remember what it worked out."""
    plan = str(Path(simulations.__file__).parent / "scenarios" / "hospitals.toml")
    calls = {"--help": ["--help"], "check": ["check", plan], "budget": ["budget", plan]}
    first: dict[str, tuple[float, float]] = {}
    best: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(TURNS):
            for name, words in calls.items():
                again = once(words, home)
                first.setdefault(name, again)
                best[name] = min(best.get(name, again), again)
    rows = {
        f"federation {name}": [*map(_seconds, (*first[name], *best[name])), f"{AIMS[name]:g} s"]
        for name in calls
    }
    head = [
        "start-up",
        "first call: wall",
        "processor",
        "later: least wall",
        "processor",
        "aim, wall, idle core",
    ]
    keep("Start-up", table(head, rows))


def once(words: list[str], home: str) -> tuple[float, float]:
    """Seconds on the clock and on the processor of one call."""
    env = {**os.environ, **QUIET, "XDG_CACHE_HOME": home, "OMP_NUM_THREADS": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    subprocess.run([*COMMAND, *words], env=env, check=True, capture_output=True)
    spent, after = perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _seconds(value: float) -> str:
    return f"{value:.2f} s"
