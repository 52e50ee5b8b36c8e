"""A service that runs until the process is told to end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, Final

_ECHO: Final = 1.0  # seconds: `timeout` sends its signal twice, and people press Ctrl-C twice


def until_signal(service: AbstractContextManager[object], ready: Callable[[], None]) -> None:
    """Keep a service entered until SIGTERM or SIGINT; `ready` is called when it is.

    For the main thread of a process. Signals are caught before the service begins, so none cuts its beginning.
    """
    told, heard = threading.Event(), [0.0]

    def note(_signal: int, _frame: FrameType | None) -> None:
        heard[0] = time.monotonic()
        told.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with service:
            ready()
            told.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, _unless_echo(handler, heard[0]) if told.is_set() else handler)


def _unless_echo(handler: Any, heard: float) -> Callable[[int, FrameType | None], None]:
    """A handler, but for the echo of the signal that has ended the service: that would make the end a failure."""

    def handle(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - heard <= _ECHO:
            return
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, handler)
            signal.raise_signal(number)

    return handle
