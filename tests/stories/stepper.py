"""Runs `federation simulate`, kills it before a step of the run folder, and lets the same command go on.

    python -m tests.stories.stepper FIRST EVERY

A step is whatever opens a file of the run folder to write, renames one, or deletes one: Python tells an audit
hook of it, so a step that somebody adds is one without a word here. Each life has a folder of its own, run-N, and
dies by SIGKILL just before its N-th step, N = FIRST, FIRST + EVERY, ... Ends when a life has no such step any more,
and prints how many died. As in `killer`, each process is a fork of this one, which has computed nothing with torch.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from federation.plan.plan import load
from tests.stories.killer import fork

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_MOVES = {"os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link"}


class Death:
    """Before the step of this number in a folder. Installed for good: in a fork that is to die."""

    def __init__(self, folder: Path, step: int) -> None:
        self.inside, self.left = f"{folder.absolute()}{os.sep}", step
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python says what it is about to do."""
        if event in _MOVES or (event == "open" and arguments[2] & _WRITES):
            path = arguments[0]
            if isinstance(path, str | bytes | os.PathLike) and self._is_inside(os.fsdecode(path)):
                self.left -= 1
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    def _is_inside(self, path: str) -> bool:
        return os.path.abspath(path).startswith(self.inside)


def code_of(child: int) -> int:
    """How it ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(first: int, every: int) -> int:
    """One life and its continuation after another; the exit code of the first that went wrong."""
    _ = load(Path("plan.toml")).kind.noise_text  # calibrate once, not in every process
    died = 0
    while True:
        step = first + died * every
        out = Path(f"run-{step}")
        code = code_of(fork("protocol", out, lambda out=out, step=step: Death(out, step)))  # type: ignore[misc]
        if code != -signal.SIGKILL:
            print(died)  # noqa: T201
            return code
        died += 1
        code = code_of(fork("protocol", out))
        if code:
            return code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
