"""Prints on a terminal so that what people copy stays whole.

A digest, a key, a path or a command that is broken in two cannot be pasted, so no line is ever broken, and no table
squeezed, to fit a width: neither that of a narrow terminal nor the one that is guessed where there is none. The
terminal itself shows a long line in several rows and copies it as one.

Strings are printed as they are. Names in plans and files are other people's words: they are no markup, and no codes
that move the cursor.

Every command imports this before it knows whether it has anything to show, so rich is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from federation.words import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from federation.report.report import Folds

_WIDEST = 1 << 20
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def show(*parts: str | Text | Table) -> None:
    """Print each part on lines of its own."""
    from rich.table import Table

    console = _console(_WIDEST)
    for part in parts:
        if isinstance(part, Table):
            _console(console.measure(part).maximum).print(part)
        else:
            console.print(printable(part) if isinstance(part, str) else part)


def styled(*parts: str | tuple[str, str]) -> Text:
    """One line of strings, each as it is or with a style."""
    from rich.text import Text

    return Text.assemble(*(printable(p) if isinstance(p, str) else (printable(p[0]), p[1]) for p in parts))


def labelled(name: str, width: int, words: str, level: str | None = None) -> Text:
    """One line: a name in a column of this width, "ok", "warning" or "error" if that is said, and words."""
    mark = () if level is None else ((f"{level:7}", _STYLES.get(level, "")), "  ")
    return styled((f"{name:{width}}", "bold"), "  " if words else "", *mark, words)


def titled(title: str, first: str, *numbers: str) -> Table:
    """An empty table: a column of words, then columns of numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _console(width: int) -> Console:
    from rich.console import Console

    return Console(width=width, markup=False, highlight=False, emoji=False, soft_wrap=True)


def folds_table(found: Folds) -> Table:
    """Each fold, then mean and deviation. All of it is noised."""
    from federation.report.figures.folds import FIGURES, figures_of
    from federation.report.numbers import figure, plain

    each = {f"fold {line.fold}": figures_of(line.published.to_json()) for line in found.folds}
    names = next(iter(each.values()), dict.fromkeys(FIGURES))
    table = titled(f"{len(found.folds)} folds, noised", "tested on", *map(plain, names))
    for words, values in {**each, "mean": found.mean, "deviation": found.deviation}.items():
        table.add_row(words, *(figure(values.get(name)) for name in names))
    return table


def told_folds(facts: Mapping[str, Any], unit: str) -> str:
    """How much of all trainings and evaluations one unit is charged."""
    return (
        f"{facts['folds']}: one {unit} is charged {facts['trainings_charged']} of {facts['trainings']} trainings, "
        f"and {facts['evaluations_charged']} of {facts['evaluations']} evaluations"
    )
