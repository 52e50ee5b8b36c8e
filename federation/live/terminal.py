"""A view that stays at the bottom of a terminal and is drawn again as things change; log lines scroll above it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, RenderableType
from rich.live import Live

from federation.words import printable

_PER_SECOND: Final = 2


@contextmanager
def live_view(view: Callable[[int, int], RenderableType]) -> Iterator[None]:
    """Show what `view(width, height)` makes until the context ends. What is written to stderr goes above it.

    `view` is called in a thread of its own.
    """
    before = sys.stderr
    console = Console(file=before, markup=False, highlight=False, emoji=False)
    shown = Live(
        get_renderable=lambda: view(console.width, console.height),
        console=console,
        refresh_per_second=_PER_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with shown:
        sys.stderr = _Above(console)
        try:
            yield
        finally:
            sys.stderr = before


class _Above(io.TextIOBase):
    """Takes text and prints whole lines above the view, none of them broken: commands are copied from there."""

    def __init__(self, console: Console) -> None:
        self._console, self._begun = console, ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._console.print(printable(line), soft_wrap=True)
        return len(text)

    def isatty(self) -> bool:
        return True
