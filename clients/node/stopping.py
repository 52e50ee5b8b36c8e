"""A service that runs until the process is told to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType


def until_signal(service: AbstractContextManager[object], ready: Callable[[], None]) -> None:
    """Keep a service entered until SIGTERM or SIGINT; `ready` is called when it is.

    For the main thread of a process. Signals are caught before the service begins, so none cuts its beginning.
    """
    told = threading.Event()

    def note(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with service:
            ready()
            told.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
