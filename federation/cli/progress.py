"""Shows the progress of long work on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from federation.report.numbers import figure

_Advance = Callable[[int, Mapping[str, float | None]], None]  # (rounds done, metrics so far)


@contextmanager
def show_progress(title: str, total: int) -> Iterator[_Advance]:
    """A function to call after every round, with the rounds done of `total` and the metrics so far."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console, title, total)
        return
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[metrics]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, metrics="")
        yield lambda done, metrics: progress.update(task, completed=done, metrics=_words(metrics))


def _lines(console: Console, title: str, total: int) -> _Advance:
    every = max(1, total // 10)

    def advance(done: int, metrics: Mapping[str, float | None]) -> None:
        if done % every == 0 or done == total:
            line = f"{title}: round {done} of {total} {_words(metrics)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    return advance


def _words(metrics: Mapping[str, float | None]) -> str:
    shown = list(metrics.items())[:2]
    return "  ".join(f"{name} {figure(value)}" for name, value in shown)
