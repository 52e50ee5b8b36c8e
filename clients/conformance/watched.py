"""What a task's code reaches for while it runs: files, the network, processes, threads, the terminal and the log.

Python tells of these as they happen (`sys.addaudithook`, PEP 578). This is for a user who made a mistake, such as a
debug print, weights that are downloaded, or a file that is read for every batch. It holds nobody: code that means
to do it from C, or to hide it, can. A site approves the code that it runs.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, Final, TextIO

_NETWORK: Final = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request")
_PROCESS: Final = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "pty.spawn",
)
_CHANGES: Final = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "shutil.rmtree")
_OWN: Final = ("/proc/", "/sys/", "/dev/null")
_CODE: Final = (".py", ".pyc", ".so", ".pyi")  # what an import reads, and a warning that quotes its line
_SEARCHED: Final = (".__path_hook__",)  # no file: setuptools' entry of sys.path for an editable installation
_METADATA: Final = (
    ".egg-info",
    ".dist-info",
)  # folders of what is installed, where libraries look for plug-ins
_local = threading.local()
_is_hooked = False


@dataclass
class Reached:
    """What was reached for, each once, as it may be shown: the code had made-up records only."""

    files: list[str] = field(default_factory=list)
    network: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    threads: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)  # where it wrote: "print", "log"

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Take an event of Python's."""
        if event == "open":
            if (name := _outside(*args[:2])) is not None:
                _once(self.files, name)
        elif event in _CHANGES:
            _once(self.files, f"{event} {_text(args[0]) if args else ''}".strip())
        elif event in _NETWORK:
            _once(self.network, event)
        elif event in _PROCESS:
            _once(self.processes, event)


@contextmanager
def watched(reached: Reached) -> Iterator[None]:
    """Within the context: what this thread reaches for is noted, and what is printed or logged goes no further."""
    _hook()
    before = getattr(_local, "reached", None)
    out, log = _Printed(sys.stdout), _Counting()
    err = _Printed(sys.stderr)
    root = logging.getLogger()
    root.addHandler(log)
    try:
        with redirect_stdout(out), redirect_stderr(err), _threads_noted():
            _local.reached = reached
            yield
    finally:
        _local.reached = before
        root.removeHandler(log)
        if out.getvalue() or err.getvalue():
            _once(reached.told, "prints")
        if log.count:
            _once(reached.told, "logs")


@contextmanager
def _threads_noted() -> Iterator[None]:
    """Of threads Python tells nothing before 3.12."""
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        if (reached := getattr(_local, "reached", None)) is not None:
            _once(reached.threads, "a thread")
        start(thread)

    threading.Thread.start = noted  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]


class _Printed(StringIO):
    """What this thread prints. Another's goes on: the command tells from one of its own how far it is."""

    def __init__(self, other: TextIO) -> None:
        super().__init__()
        self._thread, self._other = threading.get_ident(), other

    def write(self, text: str) -> int:
        return super().write(text) if threading.get_ident() == self._thread else self._other.write(text)


class _Counting(logging.Handler):
    """Counts what comes, and keeps nothing of it."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += not record.name.startswith("torch")


def _hook() -> None:
    global _is_hooked  # noqa: PLW0603 - a hook of Python's stays for good, so there is one
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_heard)


def _heard(event: str, args: tuple[Any, ...]) -> None:
    reached = getattr(_local, "reached", None)
    if reached is not None:
        _local.reached = None  # what this does itself is not the task's
        try:
            reached.note(event, args)
        finally:
            _local.reached = reached


def _outside(path: object, mode: object = None) -> str | None:
    """The name of a file, unless Python or torch reads it by themselves."""
    name = _text(path)
    is_written = isinstance(mode, str) and any(letter in mode for letter in "wax+")
    if name is None or name.startswith(_OWN):
        return None
    if not is_written and (name.endswith(_CODE + _SEARCHED) or os.path.abspath(name).startswith(_roots())):
        return None
    if not is_written and os.path.dirname(name).endswith(_METADATA):
        return None
    return name


def _roots() -> tuple[str, ...]:
    return tuple({os.path.join(sys.prefix, "lib"), os.path.join(sys.base_prefix, "lib")})


def _text(path: object) -> str | None:
    """A path as text; None for a descriptor that is open already."""
    if isinstance(path, bytes):
        return os.fsdecode(path)
    return str(path) if isinstance(path, str | os.PathLike) else None


def _once(known: list[str], name: str) -> None:
    if name not in known:
        known.append(name)
