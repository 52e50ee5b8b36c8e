"""A table that was never a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from clients.data.sources.packed import Cells
from clients.data.sources.table import Table


def table_of(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """As it would be read from a file with a line for each row."""
    columns = tuple(Cells.of([str(row[place]) for row in rows]) for place in range(len(header)))
    return Table(Path("site.csv"), tuple(header), columns, list(range(2, len(rows) + 2)), len(rows) + 1, 0)
