"""A table that was never a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clients.data.csv_table import CsvTable


def table_of(header: Sequence[str], rows: Sequence[Sequence[object]]) -> CsvTable:
    """As it would be read from a file with a line for each row."""
    columns = tuple([str(row[place]) for row in rows] for place in range(len(header)))
    return CsvTable(Path("site.csv"), tuple(header), columns, list(range(2, len(rows) + 2)), len(rows) + 1, 0)
