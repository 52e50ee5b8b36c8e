"""A table that was never a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clients.data.csv_table import CsvTable


def table_of(header: Sequence[str], rows: Sequence[Sequence[object]]) -> CsvTable:
    """As it would be read from a file with a line for each row."""
    cells, lines = [list(map(str, row)) for row in rows], list(range(2, len(rows) + 2))
    return CsvTable(Path("site.csv"), tuple(header), cells, lines, len(rows) + 1, 0)
