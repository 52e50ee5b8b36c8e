"""Runs the real `federation` command many times, each a fork of this process, which has imported everything.

    python -m tests.stories.real.nursery

Each line of stdin is a request, a JSON object; each line of stdout answers it with a process id. So a party costs
no start-up, and there can be many. The process, its sockets, its children and every signal are real. Keys:

    name     of the party: its output goes to NAME.out and NAME.err in `logs`, its exit status to NAME.exit
    logs     a folder
    folder   where it runs
    words    what comes after `federation`
    place    "module:function" or "module:Class.method" to halt at; without it, it is never halted
    calls    at which calls of it; at the second, it touches NAME.halted.2 and waits for NAME.go.2

A coordinator is overheard: NAME.frames has all that it gives to its SuperLink and gets from it, and NAME.link how
it reaches it (address, token, number of the run), as somebody knows who owns that machine.

When stdin ends, or this process is told to end, whatever descends from it is killed: nothing is left behind, in
whatever session it runs and whoever its parent was.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from federation.quiet import quiet_flower

quiet_flower()

import opacus  # noqa: E402, F401 - imports that a party would wait for
import torch._dynamo  # noqa: E402, F401 - so would its first optimizer

from federation.cli import start  # noqa: E402
from federation.report import page  # noqa: E402, F401
from tests.stories.real.family import descendants  # noqa: E402

POLL = 0.02
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans among our descendants become our children
_EAGER = (
    "clients.join",
    "clients.node",
    "server.serve",
    "server.link",
    "flwr.serverapp",
    "flwr.supernode.main",
)


def halt(place: str, calls: list[int], begin: Path) -> None:
    """Replace a function by one that waits before some of its calls, until there is a file for that."""
    module, _, name = place.partition(":")
    holder: Any = importlib.import_module(module)
    *outer, last = name.split(".")
    for each in outer:
        holder = getattr(holder, each)
    original, count = getattr(holder, last), 0

    def waiting(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count in calls:
            begin.with_suffix(f".halted.{count}").touch()
            while not begin.with_suffix(f".go.{count}").exists():
                time.sleep(POLL / 2)
        return original(*args, **kwargs)

    setattr(holder, last, waiting)


def overhear(begin: Path) -> None:
    """Write down what a coordinator's SuperLink is told, and how it is reached."""
    carried, link = (
        importlib.import_module("federation.round.flower"),
        importlib.import_module("server.link.flower"),
    )
    packs, opens, begins = carried.to_record, carried.from_record, link._Grid.set_run

    def heard(data: bytes) -> bytes:
        with begin.with_suffix(".frames").open("ab") as frames:
            frames.write(data)
        return data

    class Grid(link._Grid):  # type: ignore[misc, name-defined]
        def __init__(self, known: Any, token: str) -> None:
            super().__init__(known, token)
            self._known = known

        def set_run(self, run: Any) -> None:
            told = [self._known.address, self._known.token, run.run_id]
            begin.with_suffix(".link").write_text(json.dumps(told))
            begins(self, run)

    link._Grid = Grid  # type: ignore[attr-defined]
    carried.to_record = lambda data: packs(heard(data))  # type: ignore[attr-defined]
    carried.from_record = lambda content: heard(opens(content))  # type: ignore[attr-defined]


def fork(request: dict[str, Any]) -> int:
    """A party in a session of its own; its process id."""
    if child := os.fork():
        return child
    code: object = 1
    try:
        _become(request)
        start.main()
        code = 0
    except SystemExit as stop:
        code = stop.code if stop.code is not None else 0
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _become(request: dict[str, Any]) -> None:
    logs, name = Path(request["logs"]), request["name"]
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.chdir(request["folder"])
    for stream, ending in ((1, "out"), (2, "err")):
        writing = os.open(logs / f"{name}.{ending}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(writing, stream)
        os.close(writing)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request.get("environment", {}))
    if request["words"][0] == "serve":
        overhear(logs / name)
    if "place" in request:
        halt(request["place"], request["calls"], logs / name)
    sys.argv = ["federation", *request["words"]]


class Nursery:
    """The parties that run, by process id, and where their exit status is written."""

    def __init__(self) -> None:
        self._running: dict[int, Path] = {}

    def start(self, request: dict[str, Any]) -> int:
        """Start a party; its process id."""
        child = fork(request)
        self._running[child] = Path(request["logs"]) / f"{request['name']}.exit"
        return child

    def reap(self) -> None:
        """Note who has ended, and how."""
        while True:
            try:
                found, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not found:
                return
            if (path := self._running.pop(found, None)) is not None:
                partial = path.with_suffix(".partial")
                partial.write_text(str(os.waitstatus_to_exitcode(status)))
                partial.rename(path)


def end() -> None:
    """Kill all descendants, and again until there are none: one that is being started may slip through once."""
    while left := descendants(os.getpid()):
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        while True:
            try:
                found, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not found:
                break
        time.sleep(POLL)


def main() -> None:
    """Answer requests until there are no more."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    for name in _EAGER:
        with suppress(ImportError):
            importlib.import_module(name)
    nursery = Nursery()
    try:
        while True:
            if select.select([sys.stdin], [], [], POLL)[0]:
                if not (line := sys.stdin.readline()):
                    break
                request = json.loads(line)
                if "words" in request:
                    print(nursery.start(request), flush=True)  # noqa: T201
                else:
                    used = resource.getrusage(resource.RUSAGE_CHILDREN)
                    print(used.ru_utime + used.ru_stime, flush=True)  # noqa: T201
            nursery.reap()
    finally:
        end()


if __name__ == "__main__":
    main()
