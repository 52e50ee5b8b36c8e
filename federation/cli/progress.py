"""Shows the progress of long work on stderr: a bar on a terminal, a plain line now and then elsewhere.

Every command imports this before it knows whether anything takes long, so rich is imported where it is used.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from federation.progress import shown_by
from federation.report.numbers import figure

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

PATIENCE: Final = 1.0  # seconds for which people wait without a word
_Metrics = Mapping[str, float | None]


class Shown(Protocol):
    """What is going on, for people to see."""

    def rounds(self, title: str, done: int, total: int, metrics: _Metrics) -> None:
        """So many rounds of a run are done."""

    def stage(self, what: str, done: int = 0, total: int = 0) -> None:
        """Something else begins or goes on; `total` is 0 where nobody knows how long it takes."""

    def trials(self, title: str, done: int, total: int, following: str) -> None:
        """So many of many runs are done; what follows."""


@contextmanager
def show_progress() -> Iterator[Shown]:
    """Shows what it is told until the work is over, or has failed."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        lines = _Lines(console)
        try:
            with shown_by(lines.stage):
                yield lines
        finally:
            lines.hush()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}"),
    )
    with Progress(*columns, console=console) as progress:
        bars = _Bars(progress)
        with shown_by(bars.stage):
            yield bars


@contextmanager
def working(what: str) -> Iterator[None]:
    """A sign of life while something takes long."""
    with show_progress() as shown:
        shown.stage(what)
        yield


class _Bars:
    """One bar for the rounds, one for each other stage; where the end is not known, it moves to and fro."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._now = progress, ""
        self._tasks: dict[str, TaskID] = {}
        self._stages: set[str] = set()

    def rounds(self, title: str, done: int, total: int, metrics: _Metrics) -> None:
        """Bars of earlier rounds stay above; those of stages before these go, so that all stand in order."""
        if title not in self._tasks:
            for stage in self._stages & self._tasks.keys():
                self._progress.remove_task(self._tasks.pop(stage))
        self._show(title, done, total, _words(metrics))

    def stage(self, what: str, done: int = 0, total: int = 0) -> None:
        self._stages.add(what)
        self._show(what, done, total, "")

    def trials(self, title: str, done: int, total: int, following: str) -> None:
        self._show(title, done, total, following)

    def _show(self, what: str, done: int, total: int, metrics: str) -> None:
        if what != self._now:
            before = self._tasks.get(self._now)
            if (
                before is not None
                and self._progress.tasks[self._progress.task_ids.index(before)].total is None
            ):
                self._progress.remove_task(self._tasks.pop(self._now))
            self._now = what
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total or None, metrics="")
        self._progress.update(self._tasks[what], completed=done, metrics=metrics)


class _Lines:
    """A line for every tenth of the rounds, and one for whatever else takes longer than `PATIENCE`."""

    def __init__(self, console: Console) -> None:
        self._console, self._now, self._since = console, "", 0.0
        self._alarm: threading.Timer | None = None
        self._begun: tuple[int, float] | None = None

    def rounds(self, title: str, done: int, total: int, metrics: _Metrics) -> None:
        self.hush()
        if _is_tenth(done, total):
            self._print(f"{title}: round {done} of {total} {_words(metrics)}")

    def stage(self, what: str, done: int = 0, total: int = 0) -> None:
        if what != self._now:
            self.hush()
            self._now, self._since = what, time.monotonic()
            self._alarm = threading.Timer(PATIENCE, self._print, [f"{what} ..."])
            self._alarm.daemon = True
            self._alarm.start()
        elif total and _is_tenth(done, total) and time.monotonic() - self._since > PATIENCE:
            self._print(f"{what}: {done} of {total}")

    def trials(self, title: str, done: int, total: int, following: str) -> None:
        self.hush()
        now = time.monotonic()
        if self._begun is None:
            self._begun = done, now
        made, spent = done - self._begun[0], now - self._begun[1]
        left = f", about {_duration(spent / made * (total - done))} left" if made and done < total else ""
        self._print(f"{title}: {done} of {total} done{left}; {following}")

    def hush(self) -> None:
        """What went on is over."""
        self._now = ""
        if self._alarm is not None:
            self._alarm.cancel()

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    """A time as people say it.

    >>> _duration(8.2), _duration(150), _duration(7300)
    ('9 s', '3 min', '2.1 h')
    """
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 6000 else f"{math.ceil(seconds / 360) / 10:g} h"


def _is_tenth(done: int, total: int) -> bool:
    return done % max(1, total // 10) == 0 or done == total


def _words(metrics: _Metrics) -> str:
    shown = list(metrics.items())[:2]
    return "  ".join(f"{name} {figure(value)}" for name, value in shown)
