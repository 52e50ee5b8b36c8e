"""Runs the real command many times, halts it where it enters a named function, and sends it a signal there.

    python -m tests.stories.halted

Each line of stdin is a request, a JSON object; each line of stdout its answer: the exit status. Every run is a fork
of this process, which has imported everything and computed nothing with torch: so it costs no start-up. The
process, the signal and everything that answers are real. Keys of a request:

    folder   where it runs
    words    what comes after `federation`
    place    "module:function" to halt at; without it, it runs to its end
    signal   the number of the signal that strikes there
    stdout   a file to write to instead of `out` in the folder; "" for a pipe that nobody reads
    stderr   a file to write to instead of `err`
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import opacus  # noqa: F401 - imports that a run would wait for
import torch._dynamo  # noqa: F401 - so would its first optimizer

from federation.cli import start
from federation.report import page  # noqa: F401
from simulations import simulate  # noqa: F401
from tests.patience import patience

MARK, OUT, ERR = "halted", "out", "err"


def halt(place: str) -> None:
    """Replace a function by one that waits first: until a signal ends it, or for `patience(60)` seconds."""
    module, _, name = place.partition(":")
    holder = importlib.import_module(module)
    original = getattr(holder, name)

    def waiting(*args: Any, **kwargs: Any) -> Any:
        Path(MARK).touch()
        ends = time.monotonic() + patience(60)
        while time.monotonic() < ends:
            time.sleep(0.01)
        return original(*args, **kwargs)

    setattr(holder, name, waiting)


def redirect(stream: int, target: str) -> None:
    """Point a standard stream of this process somewhere else."""
    if target:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    else:
        reading, writing = os.pipe()
        os.close(reading)
    os.dup2(writing, stream)


def fork(request: dict[str, Any]) -> int:
    """A process that does what is asked; its id."""
    child = os.fork()
    if child:
        return child
    code: object = 1
    try:
        os.chdir(request["folder"])
        redirect(1, request.get("stdout", OUT))
        redirect(2, request.get("stderr", ERR))
        if "place" in request:
            halt(request["place"])
        sys.argv = ["federation", *request["words"]]
        start.main()
    except SystemExit as stop:
        code = stop.code
    finally:
        os._exit(code if isinstance(code, int) else 1)


def answer(request: dict[str, Any]) -> int:
    """The exit status, after the signal if there is one."""
    mark = Path(request["folder"]) / MARK
    mark.unlink(missing_ok=True)
    child, found, status = fork(request), 0, 0
    if "signal" in request:
        while not mark.exists() and not found:
            found, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.005)
        if not found:
            os.kill(child, request["signal"])
    if not found:
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    for line in sys.stdin:
        print(answer(json.loads(line)), flush=True)  # noqa: T201
