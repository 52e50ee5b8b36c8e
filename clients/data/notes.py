"""What a site's files hold, for the people at the site: how much was read, and what looks odd.

Shown on their terminal and nowhere else: not in a log, a report, JSON or an exit code. A note warns; it never
changes what is read or sent. Like an error it names file, row and column, and never a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from clients.rules.origin import Place
from federation.words import printable


@dataclass(frozen=True)
class Note:
    """Something odd about a file or folder, and what to do about it."""

    path: Place
    text: str
    hint: str

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.text}; {self.hint}")


@dataclass(frozen=True)
class FileRead:
    """A file that was read. `lines` as a text editor counts them; None if only the user's own task knows them."""

    path: Place
    records: int
    lines: int | None = None
    blank: int = 0  # rows without a cell that is filled in, which are no records
    notes: tuple[Note, ...] = ()

    def __str__(self) -> str:
        lines = "" if self.lines is None else f"{self.lines} lines, "
        return printable(
            f"{self.path}: {lines}{self.records} records{f', {self.blank} blank' * (self.blank > 0)}"
        )


def tell_of(read: FileRead, tell: Callable[[str], None]) -> None:
    """Say how much was read of a file, then what looks odd in it: a line each."""
    tell(str(read))
    for note in read.notes:
        tell(f"warning: {note}")
