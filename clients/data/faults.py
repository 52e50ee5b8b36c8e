"""All the cells of a table that cannot be used, told at once: one line for a file, however many rows are wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clients.data.sources.table import Problem, Table, refuse_problems
from federation.errors import DataError
from federation.words import many, some

_MAX_LISTED = 6  # faults in one line, with what is wrong
_MAX_NAMED = 30  # columns in one line, with how many rows are wrong
_MAX_NAME = 60  # characters of a column's name


@dataclass(frozen=True)
class Fault:
    """What is wrong with some cells of a column, what to do, and in which rows (by position, in order)."""

    column: str
    message: str
    hint: str
    rows: tuple[int, ...]


def collected(column: str, found: Iterable[tuple[int, tuple[str, str]]]) -> tuple[Fault, ...]:
    """Faults of a column from (row, (message, hint)) pairs, those with one message together."""
    rows: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row, said in found:
        rows[said].append(row)
    return tuple(Fault(column, message, hint, tuple(places)) for (message, hint), places in rows.items())


def refuse(table: Table, faults: Sequence[Fault], problems: Sequence[Problem] = ()) -> None:
    """Return if nothing is wrong. DataError tells all: of the table, then of its cells, by column and kind."""
    if not faults:
        refuse_problems(table.path, problems)
        return
    listed = faults[:_MAX_LISTED]
    text = ", also ".join(
        [*(problem.message for problem in problems), *(_told(table, fault) for fault in listed)]
    )
    if left := faults[len(listed) :]:
        text += f", and {len(left)} more: {_by_column(left)}"
    if len(rows := {row for fault in faults for row in fault.rows}) > 1 < len(faults):
        text += f", {len(rows)} of {len(table)} rows in all"
    hints = dict.fromkeys([*(problem.hint for problem in problems), *(fault.hint for fault in listed)])
    raise DataError(f"{table.path}: {text}", hint=", and ".join(list(hints)[:2]))


def _by_column(faults: Sequence[Fault]) -> str:
    """In how many rows of which columns there is something else."""
    rows: defaultdict[str, set[int]] = defaultdict(set)
    for fault in faults:
        rows[fault.column].update(fault.rows)
    named = [f'"{_short(column)}" ({many(len(found), "row")})' for column, found in rows.items()]
    more = f" and {len(named) - _MAX_NAMED} columns more" if len(named) > _MAX_NAMED else ""
    return ", ".join(named[:_MAX_NAMED]) + more


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "..."


def _told(table: Table, fault: Fault) -> str:
    lines = [table.lines[row] for row in fault.rows[:4]]
    many = f" ({len(fault.rows)} rows: {some(lines)})" if len(fault.rows) > 1 else ""
    return f'row {lines[0]}, column "{_short(fault.column)}": {fault.message}{many}'
