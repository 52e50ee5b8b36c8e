"""A published table on a terminal: its columns, or its curves."""

from __future__ import annotations

from rich.table import Table

from federation.cli.screen import titled
from federation.report.figures.tables import CurvesTable, Tables
from federation.report.telling import tabulated
from federation.words import printable


def table_lines(tables: Tables) -> list[Table | str]:
    """The pooled, noised table, and what its intervals are of."""
    note = f"95 % in brackets; the noise on each count has standard deviation {tables.deviation:.1f}."
    if tables.curves is not None:
        return [_curves(tables.curves), tabulated.test_of(tables.curves), note]
    shown = titled("All sites together, with noise", "column", *tabulated.headings()[:4], "half below")
    for name, figures in tabulated.rows(tables):
        shown.add_row(printable(name), *figures[:4], figures[6])
    values = [
        f"{printable(name)}: {', '.join(f'{printable(label)}: {count}' for label, count in found)}"
        for name, found in tabulated.values(tables)
    ]
    return [shown, *values, note]


def _curves(curves: CurvesTable) -> Table:
    names = [printable(name) or "all" for name in curves.groups]
    shown = titled("Share without the event, with noise", "until", *names)
    for end, figures in tabulated.points(curves):
        shown.add_row(end, *figures)
    return shown
