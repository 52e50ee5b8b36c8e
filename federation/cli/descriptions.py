"""Prints what a site's files hold, on the terminal of the people who own them and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from clients.data.described import Column, Description
from clients.data.doubts import percent
from clients.look import Look
from federation.cli.screen import printable, show, styled

_HERE_ONLY = "These figures are exact: they are shown here only, and nothing of them is stored or sent."


def print_look(look: Look) -> None:
    """Print the figures of a site's files, then what is doubtful about them."""
    _print(look)
    show(_HERE_ONLY)


def print_sites(sites: Mapping[str, Look | None], doubts: Sequence[str]) -> None:
    """Print each site of a folder, then what is doubtful about all of them; None is a site that cannot be read."""
    for name, look in sites.items():
        show("", styled((name, "bold")))
        if look is None:
            show("cannot be read: see the errors below")
        else:
            _print(look)
    show("", *map(_warning, doubts), _HERE_ONLY)


def _print(look: Look) -> None:
    for file in look.files:
        _print_file(file)
    show(*map(_warning, look.doubts), *(styled(("hint: ", "cyan"), hint) for hint in look.hints))


def _print_file(file: Description) -> None:
    people = [] if file.patients is None else [f"{file.patients} patients"]
    show(f"{file.path}: {', '.join([f'{file.records} records', *people, *file.notes])}")
    show(f"classes: {', '.join(f'{name} {count}' for name, count in file.classes)}")
    if file.columns:
        show(_columns(file.columns))
    show(*map(_warning, file.doubts))


def _columns(columns: Sequence[Column]) -> Table:
    unread = ["not usable"] * any(column.unread for column in columns)
    table = Table(box=None, pad_edge=False)
    table.add_column("column")
    for name in ("range", "below", "above", "distinct", "missing", *unread):
        table.add_column(name, justify="right")
    for column in columns:
        shares = ("" if share is None else percent(share) for share in (column.below, column.above))
        counts = (column.distinct, column.missing, *([column.unread] * len(unread)))
        table.add_row(printable(column.name), column.public, *shares, *map(str, counts))
    return table


def _warning(doubt: str) -> Text:
    return styled(("warning: ", "yellow"), doubt)
