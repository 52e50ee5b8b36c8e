"""Where long work says how far it is, for a command to show: whoever does the work need not know who looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Listener: TypeAlias = Callable[[str, int, int], None]

_listener: ContextVar[Listener | None] = ContextVar("progress", default=None)


def going_on(what: str, done: int, total: int) -> None:
    """So many of so many are done."""
    if (listener := _listener.get()) is not None:
        listener(what, done, total)


@contextmanager
def shown_by(listener: Listener) -> Iterator[None]:
    """Have a listener told, until the block is left."""
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)
