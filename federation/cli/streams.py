"""stdout and stderr as the command needs them: a word lost on stdout is an error, one lost on stderr is not.

A result that nobody could read was not delivered, so the exit status says so (`OutputLost`). Progress and warnings
must never end a run that was paid for: where stderr is full or closed they are dropped.

`OutputLost` is no OSError: typer and rich answer those of a broken pipe themselves, with a status that is not ours.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO


class OutputLost(Exception):
    """stdout cannot be written; `errno` says why."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number


class _Stdout(io.FileIO):
    """Says once that it failed. What is still buffered then is dropped, or it would fail again at exit."""

    is_lost = False

    def write(self, data: Any, /) -> int:
        if self.is_lost:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            self.is_lost = True
            number = error.errno or 0
        raise OutputLost(number)


class _Stderr(io.FileIO):
    """Drops what it cannot write."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def print_json(result: Mapping[str, Any]) -> None:
    """A command's result on stdout, for programs. ValueError for an infinity, which JSON has not."""
    sys.stdout.write(json.dumps(result, indent=2, allow_nan=False) + "\n")


@contextmanager
def streams() -> Iterator[None]:
    """Put both in place, unless something else (a test) has taken the stream already."""
    _occupy()
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(_Stdout(1, "wb", closefd=False), sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Stderr(2, "wb", closefd=False), sys.stderr, eager=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _occupy() -> None:
    """Fill the place of a standard stream that was closed at the start: the next file opened would be taken for it.

    What is written to it then fails, as /dev/null is opened for reading.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY)  # the lowest free number, which is this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def _text(raw: io.FileIO, like: TextIO | None, *, eager: bool = False) -> TextIO:
    encoding, errors = ("utf-8", "backslashreplace") if like is None else (like.encoding, like.errors)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=errors, line_buffering=eager or raw.isatty()
    )
