"""Prints what a site's files hold, on the terminal of the people who own them and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from clients.data.described import Column, Description
from clients.data.doubts import percent
from clients.data.notes import printable
from clients.look import Look
from federation.cli.screen import show, styled

_HERE_ONLY = "These figures are exact: they are shown here only, and nothing of them is stored or sent."


def print_look(look: Look) -> None:
    """Print the figures of a site's files, then what is doubtful about them."""
    _print(look, in_full=len(look.files))
    show(*map(_hint, look.hints), _HERE_ONLY)


def print_sites(sites: Mapping[str, Look | None], doubts: Sequence[str], hints: Sequence[str]) -> None:
    """Print each site of a folder, then doubts and hints about all of them; None is a site that cannot be read."""
    for name, look in sites.items():
        show("", styled((name, "bold")))
        if look is None:
            show("cannot be read: see the errors below")
        else:
            _print(look, in_full=1)
    show("", *map(_warning, doubts), *map(_hint, hints), _HERE_ONLY)


def _print(look: Look, in_full: int) -> None:
    """A site's files, the first `in_full` of them column by column."""
    for place, file in enumerate(look.files):
        _print_file(file, in_full=place < in_full)
    show(*map(_warning, look.doubts))


def _print_file(file: Description, *, in_full: bool) -> None:
    people = [] if file.patients is None else [f"{file.patients} patients"]
    inputs = [] if file.inputs is None else [f"{file.inputs} inputs a record"]
    labels = (f'{count} of class "{name}"' for name, count in file.classes)
    show(", ".join([str(file.file), *people, *inputs, *labels]))
    if in_full and file.columns:
        show(_columns(file.columns))
    show(*map(_warning, (*map(str, file.file.notes), *file.doubts)))


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


def _hint(hint: str) -> Text:
    return styled(("hint: ", "cyan"), hint)
