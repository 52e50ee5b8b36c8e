"""How fast, side by side: the least time of many runs, all works taking turns, and the facts of the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, process_time

Work = Callable[[], object]
Clock = Callable[[], float]


def least(
    works: Mapping[str, Work], seconds: float = 6.0, runs: int = 3, *, clock: Clock = process_time
) -> dict[str, float]:
    """Milliseconds of each work: the least of at least `runs` runs, and of as many as fit into the seconds.

    Time on the processor: a work of ours has one thread and waits for nothing, and what else runs on a machine
    then only slows it down. So the least is the nearest to the work itself. The works take turns, so that a
    neighbor that slows the machine for a while slows them all. Works of several processes take another clock.
    """
    times = dict.fromkeys(works, float("inf"))
    end, turn = perf_counter() + seconds, 0
    while turn < runs or perf_counter() < end:
        for name, work in works.items():
            times[name] = min(times[name], once(work, clock))
        turn += 1
    return times


def once(work: Work, clock: Clock = process_time) -> float:
    """Milliseconds of one run, for what is too long, or too short of secrets, to be run again."""
    start = clock()
    work()
    return 1e3 * (clock() - start)


def installed(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> str:
    """Processor and versions, never a name of the machine or its user."""
    from cryptography.hazmat.backends.openssl import backend

    found = [line for line in _cpu_lines() if line.startswith("model name")]
    processor = found[0].split(":", 1)[1].strip() if found else platform.machine()
    packages = [
        f"{name} {installed(name)}" for name in ("numpy", "torch", "cryptography", "flwr") if installed(name)
    ]
    python = f"Python {platform.python_version()}"
    return ", ".join(
        [processor, f"{os.cpu_count()} cores", python, *packages, backend.openssl_version_text()]
    )


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
