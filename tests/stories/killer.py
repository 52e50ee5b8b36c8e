"""Runs `federation simulate` in a folder, kills it with SIGKILL, and again, until one process gets through.

    python -m tests.stories.killer ENGINE KILLS

Each process is a fork of this one, which has imported everything and computed nothing with torch: so a kill costs
no start-up, and there can be many. A process may finish up to two rounds, then it is killed at a random instant
within PACE seconds, however slow the machine. Prints how many rounds were done at each kill; ends with the exit
code of the process that got through, or of the first that failed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import opacus  # noqa: F401 - imports that a simulation would wait for
import torch._dynamo  # noqa: F401 - so would its first optimizer

from federation.cli import start as cli
from federation.plan.plan import load
from privacy.mechanism.noise import Stream
from simulations import simulate  # noqa: F401
from tests.patience import patience

POLL = 0.001
PACE = 0.05
RECEIPTS = Path("run/receipts.jsonl")


def fork(engine: str, out: Path = RECEIPTS.parent, before: Callable[[], object] = int) -> int:
    """A process that simulates, `before` which it does something else; its id."""
    child = os.fork()
    if child:
        return child
    code: object = 1
    try:
        before()
        words = ["simulate", "plan.toml", "--sites", "sites", "--out", str(out), "--engine", engine, "--json"]
        sys.argv = ["federation", *words]
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code
    finally:
        os._exit(code if isinstance(code, int) else 1)


def ended(child: int, rounds: int, seconds: float) -> int | None:
    """The exit code of a process that ends within so many seconds after the receipt of a round."""
    ends = None if rounds_done() < rounds else time.monotonic() + seconds
    while ends is None or time.monotonic() < ends:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL)
        if ends is None and rounds_done() >= rounds:
            ends = time.monotonic() + seconds
    return None


def rounds_done() -> int:
    """How many receipts are in the run folder."""
    return RECEIPTS.read_bytes().count(b"\n") if RECEIPTS.exists() else 0


def main(engine: str, most: int) -> int:
    """Kill at most `most` times."""
    _ = load(Path("plan.toml")).kind.noise_text  # calibrate once, not in every process
    lots, done = Stream(os.urandom(32)), list[int]()
    while True:
        more, instant = (int(lot) for lot in lots.words(2))
        killing = len(done) < most
        child = fork(engine)
        code = ended(child, rounds_done() + more % 3, PACE * instant / 2**64 if killing else patience(60))
        if code is not None:
            print(*done)  # noqa: T201
            return code
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done.append(rounds_done())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
