"""Parties as a test sees them: started, heard, halted, paused, killed; every wait is for something that happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self, TypeAlias, TypeVar

from tests import ROOT
from tests.patience import patience

T = TypeVar("T")
Halt: TypeAlias = tuple[str, tuple[int, ...]]  # "module:function", and at which calls of it
POLL: Final = 0.02
WAIT: Final = 60.0  # what takes some seconds on a quiet machine


class Nursery:
    """Starts parties, as a context manager: tests/stories/real/nursery.py. Its end is theirs."""

    def __enter__(self) -> Self:
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("FLWR_", "COV_"))
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stories.real.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(patience(WAIT))
        finally:
            self._process.kill()
            self._process.stdout.close()

    def start(
        self,
        name: str,
        words: list[str],
        logs: Path,
        halt: Halt | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> Party:
        """A party that does `federation WORDS` in the folder of its logs; `halt`: where, and at which call."""
        for left in (logs / f"{name}.exit", *logs.glob(f"{name}.halted.*"), *logs.glob(f"{name}.go.*")):
            left.unlink(missing_ok=True)
        request: dict[str, Any] = {"name": name, "words": words, "logs": str(logs), "folder": str(logs)}
        request["environment"] = dict(environment)
        if halt is not None:
            request |= {"place": halt[0], "calls": list(halt[1])}
        said = [(logs / f"{name}.{ending}") for ending in ("out", "err")]
        begins = [len(path.read_bytes()) if path.exists() else 0 for path in said]
        return Party(name, int(self._ask(request)), logs, (begins[0], begins[1]))

    def seconds(self) -> float:
        """CPU time of all that has ended so far."""
        return float(self._ask({}))

    def _ask(self, request: Mapping[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@dataclass(frozen=True)
class Party:
    """One process. `begins`: where in its logs this process begins; one of the same name may have been before."""

    name: str
    pid: int
    logs: Path
    begins: tuple[int, int]

    @property
    def exit(self) -> int | None:
        """Its exit status, negative after a signal; None while it runs."""
        path = self.logs / f"{self.name}.exit"
        return int(path.read_text()) if path.exists() else None

    @property
    def out(self) -> str:
        """What it wrote to stdout."""
        return self._said("out", self.begins[0])

    @property
    def err(self) -> str:
        """What it wrote to stderr."""
        return self._said("err", self.begins[1])

    @property
    def said(self) -> str:
        """Both."""
        return self.out + self.err

    def events(self, name: str | None = None, **facts: object) -> list[dict[str, Any]]:
        """The lines of its log that tell of an event, with these facts."""
        lines = [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]
        wanted = facts if name is None else {"event": name, **facts}
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def hears(self, words: str) -> None:
        """Wait until it has said these words."""
        self.until(lambda: words in self.said, f"says {words!r}")

    def tells(self, event: str, **facts: object) -> dict[str, Any]:
        """Wait until its log tells of an event; the first such line."""
        return self.until(lambda: self.events(event, **facts), f"tells {event} {facts}")[0]

    def halts(self, call: int) -> None:
        """Wait until it is where it is to halt."""
        self.until((self.logs / f"{self.name}.halted.{call}").exists, f"halts at call {call}")

    def go(self, call: int) -> None:
        """Let it go on where it was halted."""
        (self.logs / f"{self.name}.go.{call}").touch()

    def until(self, what: Callable[[], T], story: str) -> T:
        """Wait until something is true, while this party runs."""
        return await_that(what, f"{self.name} {story}", lambda: self.exit is None, self.told)

    def ends(self) -> int:
        """Wait for its end; the exit status."""
        await_that(lambda: self.exit is not None, f"{self.name} ends", told=self.told)
        assert self.exit is not None
        return self.exit

    def kill(self) -> None:
        """SIGKILL to this process alone, and wait for its end."""
        self.signal(signal.SIGKILL)
        self.ends()

    def signal(self, number: signal.Signals) -> None:
        """A signal to this process alone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def told(self) -> str:
        """All its logs, of every process of that name, for a test that failed."""
        return f"--- {self.name}\n{self._said('out', 0)}{self._said('err', 0)}"

    def _said(self, ending: str, begin: int) -> str:
        path = self.logs / f"{self.name}.{ending}"
        return path.read_bytes()[begin:].decode(errors="replace") if path.exists() else ""


def await_that(
    what: Callable[[], T],
    story: str,
    alive: Callable[[], bool] = lambda: True,
    told: Callable[[], str] = str,
    seconds: float = WAIT,
) -> T:
    """What `what` gives, once that is true. AssertionError if that takes too long or can no longer happen."""
    ends = time.monotonic() + patience(seconds)
    while True:
        lives = alive()  # asked first: what it did last counts
        if found := what():
            return found
        assert lives, f"has ended before this: {story}\n{told()}"
        assert time.monotonic() < ends, f"does not happen: {story}\n{told()}"
        time.sleep(POLL)
