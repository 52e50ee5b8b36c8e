"""Groups, gaps and sites that do worse than alone, on a terminal."""

from __future__ import annotations

from typing import Any

from federation.cli.screen import titled
from federation.report.fairness import words
from federation.report.fairness.gaps import NO_VERDICT
from federation.report.report import Report
from federation.words import printable

_MOST = 40  # lines of gaps; the page has all


def fairness_lines(report: Report) -> list[Any]:
    """What a terminal shows of it; nothing where there is nothing."""
    found, told = list[Any](), report.evaluation
    names, groups = words.group_rows(told)
    if groups:
        table = titled("By group, held-out records", "", *(printable(title) for title, _ in groups))
        for place, name in enumerate(names):
            table.add_row(name, *(cells[place] for _, cells in groups))
        found += [table, *([words.FEW] if words.is_any_hidden(told) else [])]
    if rows := words.gap_rows(told):
        table = titled("Gaps between groups", "", "difference, with a 95 % interval")
        for title, cell in [(title, cell) for title, cells in rows for cell in cells][:_MOST]:
            table.add_row(printable(title), cell)
        found += [table, NO_VERDICT]
    return [*found, *filter(None, [words.worse(told), words.personal(report)])]
