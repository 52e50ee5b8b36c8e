"""How long a test waits for something that must happen: longer on a busy machine, so that no wait fails by load.

A test waits out a limit only when something is broken, so limits may be long. `patience(20)` is for what takes 20 s
at most on a quiet machine: five times that, and more by the number of processes that wait for each core. `within`
measures CPU time instead of the clock where a test holds that something is cheap: other processes do not add to it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

SPARE = 5.0  # a slow machine, a cold disk


def patience(seconds: float) -> float:
    """Seconds to wait for what takes `seconds` at most on a quiet machine, by the load of this one now."""
    load = max(os.getloadavg()[:2]) / (os.cpu_count() or 1)
    return SPARE * seconds * max(1.0, load)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """AssertionError if the body takes this process more than `seconds` of CPU time."""
    started = time.process_time()
    yield
    spent = time.process_time() - started
    assert spent < seconds, f"{spent:.1f} s of CPU time, not {seconds} s"
