"""Whether a site's data files can be read at all, asked when a site starts: before any plan, server or ledger.

What a plan asks of the columns nobody knows yet. But a file that is no table, or may lose rows, fails for every
plan of tables, and its people had better know while they sit in front of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clients.data.csv_table import CsvTable, format_of
from federation.errors import DataError

_OWN = "if it is for your own task and no table, give it another suffix than .csv"


def require_readable(files: Iterable[Path | None], *, is_for_own_code: bool) -> None:
    """DataError for a file that is missing, cannot be opened, or is called .csv and is no table.

    `is_for_own_code`: the site approves a task of its own, whose files may be anything.
    """
    for path in files:
        if path is None:
            continue
        if not path.exists():
            raise DataError(f"{path}: cannot be read: there is no such file", hint="check data in site.toml")
        if not path.is_file():
            raise DataError(f"{path}: is no regular file", hint="name the file itself in site.toml")
        if is_for_own_code or path.suffix.lower() != ".csv":
            _opened(path)
            continue
        try:
            CsvTable.read(path)
        except DataError as error:
            raise DataError(error.message, hint="; ".join(filter(None, (error.hint, _OWN)))) from None


def _opened(path: Path) -> None:
    """DataError if the file cannot be opened; whatever it holds is its task's business."""
    format_of(path)
