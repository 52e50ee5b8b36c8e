"""The people of a table, by the column that names the patient of each row.

A person in two spellings counts as two, and each is protected as if the other did not exist; many people under one
name count as one. An identifier is compared as `cleaned` text. What cannot name a person is refused; spellings that
may be one person's are noted for the people at the site, who can tell.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import is_missing
from clients.data.faults import Fault, collected
from clients.data.notes import Note
from clients.data.sources.table import Table
from federation.plan.identifiers import MAX_DIGITS, cleaned, folded
from federation.words import many, some

# 1.23457E+11: a spreadsheet took the identifier for a number. 12E4 and 1e5 may be codes.
_EXPONENT = re.compile(r"[-+]?[0-9]+([.,][0-9]*E[-+]?|E[-+])[0-9]+", re.IGNORECASE)
_ROUNDED = re.compile(rf"[0-9]{{{MAX_DIGITS}}}0+")
_FLOAT = re.compile(r"[0-9]+\.0")
_MANY = 10  # rows of one identifier, and times those of the next
_STAND_IN = re.compile(r"0+|9{2,}|-[0-9]+(\.0+)?")


@dataclass(frozen=True)
class People:
    """Whose each row is: its patient's `name`, and `numbers` (n,) from 0 in order of appearance.

    Neither means anything if there are faults.
    """

    names: tuple[str, ...] = field(repr=False)
    numbers: NDArray[np.int64] = field(repr=False)
    faults: tuple[Fault, ...]
    notes: tuple[Note, ...]


def people(table: Table, column: str) -> People:
    """The patients of a table, what is wrong with their names, and what looks odd."""
    cells = table.column(column)
    known = {cell: cleaned(cell) for cell in set(cells)}
    names = tuple(known[cell] for cell in cells)
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    wrong = {name: said for name in number if (said := no_name(name)) is not None}
    faults = collected(column, ((row, wrong[name]) for row, name in enumerate(names) if name in wrong))
    numbers = np.array([number[name] for name in names], dtype=np.int64)
    return People(names, numbers, faults, () if faults else _notes(table, column, names))


def usual(owners: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The label that most rows of each person have, (people,); of several, the least. People count from 0."""
    best, most = np.zeros(owners.max() + 1, dtype=np.int64), np.zeros(owners.max() + 1, dtype=np.int64)
    for label in np.unique(labels):
        counts = np.bincount(owners[labels == label], minlength=len(most))
        best, most = np.where(counts > most, label, best), np.maximum(counts, most)
    return best


def no_name(name: str) -> tuple[str, str] | None:
    """Why a text names nobody, or None."""
    if not name:
        return "is empty", "every row needs the patient it belongs to"
    if is_missing(name):
        return "names nobody: a mark for missing", "every row needs the patient it belongs to"
    if _EXPONENT.fullmatch(name):
        hint = "export the identifiers again as text: a spreadsheet has cut their digits"
        return "is an identifier turned into a number with an exponent", hint
    return None


def _notes(table: Table, column: str, names: Sequence[str]) -> tuple[Note, ...]:
    lines: dict[str, int] = {}
    for name, line in zip(names, table.lines, strict=True):
        lines.setdefault(name, line)
    rows = Counter(names)
    found = [_spelled_twice(lines), _as_floats(lines), _cut_off(lines), _stand_ins(lines, rows)]
    found.append(None if found[-1] else _outweighs(lines, rows))
    return tuple(Note(table.path, f'column "{column}": {said[0]}', said[1]) for said in found if said)


def _spelled_twice(lines: Mapping[str, int]) -> tuple[str, str] | None:
    rests = [folded(name) for name in lines]
    if len(set(rests)) == len(rests):
        return None
    alike: defaultdict[str, list[int]] = defaultdict(list)
    for rest, line in zip(rests, lines.values(), strict=True):
        alike[rest].append(line)
    pairs = [" and ".join(map(str, v[:3])) for v in alike.values() if len(v) > 1]
    which = f"{many(len(pairs), 'patient')} may be here in several spellings (rows {some(pairs)})"
    how = "capitals, blanks, leading zeros, .0 or the width of characters"
    return f"{which}, which differ in {how}", "write each patient in one way, or one counts as several"


def _as_floats(lines: Mapping[str, int]) -> tuple[str, str] | None:
    found = [line for name, line in lines.items() if _FLOAT.fullmatch(name)]
    if not found:
        return None
    said = f"identifiers end in .0 ({len(found)}, first at row {some(found)})"
    return said, "export them as text: another file may name the same people without it"


def _cut_off(lines: Mapping[str, int]) -> tuple[str, str] | None:
    """Spreadsheets keep 15 digits and write zeros for the others."""
    long = {name: line for name, line in lines.items() if name.isdecimal() and len(name) > MAX_DIGITS}
    if len(long) < 2 or not all(_ROUNDED.fullmatch(name) for name in long):
        return None
    said = f"all identifiers of more than {MAX_DIGITS} digits end in zeros (rows {some(list(long.values()))})"
    return said, "if a spreadsheet cut them, export them again as text: people may have become one"


def _stand_ins(lines: Mapping[str, int], rows: Counter[str]) -> tuple[str, str] | None:
    shared = [lines[name] for name in lines if rows[name] > 1 and _STAND_IN.fullmatch(name)]
    if not shared:
        return None
    said = f"an identifier such as 0, 999 or -1 has several rows (first at {some(shared)})"
    return said, "if it stands for unknown, drop these rows: they may be of many people"


def _outweighs(lines: Mapping[str, int], rows: Counter[str]) -> tuple[str, str] | None:
    """An identifier with many times the rows of any other may stand for everybody without one."""
    (first, most), *others = rows.most_common(2)
    if most < _MANY or (others and most < _MANY * others[0][1]):
        return None
    beside = f"the next has {others[0][1]}" if others else "there is no other"
    said = f"one identifier has {most} rows (first at {lines[first]}), {beside}"
    return said, "if it stands for unknown or for a department, these rows may be of many people"
