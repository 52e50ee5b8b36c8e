"""Cells as numbers and as positions in a list of values. A cell that is neither is a fault, never shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from clients.data.faults import Fault, collected
from federation.plan.identifiers import MAX_DIGITS, cleaned, spellings
from federation.plan.tabular import as_number

# What people and programs write where they know nothing, in lower case. So does a text without letters and digits.
_MISSING = re.compile(
    r"na|n/a|n\.a\.|<na>|nan|nat|\(?null\)?|none|nil|\\n|unk|unknown|missing|not (known|available)"
    r"|#(n/a|na|ref!|value!|name\?|div/0!|num!|null!)"
)

_SAYS_ANYTHING = re.compile(r"[^\W_]")

_DROP = "drop or fill such rows at the site, before training"
_NUMBER = "is not a finite number"
_TOO_LARGE = re.compile(r"[-+]?[0-9.]+e[-+]?[0-9]+", re.IGNORECASE)
_SHAPES: tuple[tuple[re.Pattern[str], tuple[str, str]], ...] = (
    (
        re.compile(r"[-+]?[0-9]+([., '\u00a0\u2009\u202f][0-9]+)+"),
        (
            f"{_NUMBER}: it has a comma, or a mark between thousands",
            "write it like 1234.5, with a point alone",
        ),
    ),
    (
        re.compile(r"[<>=~\u2264\u2265\u00b1]+\s*[-+]?[0-9].*|[-+]?[0-9][0-9.,]*\s*[^\W\d_.].*|[0-9].*%"),
        (f"{_NUMBER}: it has a sign or a unit beside it", "write the number alone"),
    ),
)


def numbers(cells: Sequence[str], column: str) -> tuple[NDArray[np.float64], tuple[Fault, ...]]:
    """The cells as finite numbers, (n,), and what is wrong; the numbers mean nothing if anything is."""
    found = [as_number(cell) for cell in cells]
    wrong = ((row, _no_number(cells[row])) for row, number in enumerate(found) if number is None)
    faults = collected(column, wrong)
    return np.array([0.0 if number is None else number for number in found]), faults


def codes(
    cells: Sequence[str], column: str, values: Sequence[str]
) -> tuple[NDArray[np.int64], tuple[Fault, ...]]:
    """The position of every cell in `values`, (n,), and what is wrong."""
    known = spellings(values)
    place = {cell: known.get(cleaned(cell), -1) for cell in set(cells)}
    found = np.array([place[cell] for cell in cells], dtype=np.int64)
    wrong, numerals = np.flatnonzero(found < 0).tolist(), {_number(text) for text in known} - {None}
    capitals = {text.casefold() for text in known}
    said = {cells[row]: _no_value(cleaned(cells[row]), numerals, capitals) for row in wrong}
    return found, collected(column, ((row, said[cells[row]]) for row in wrong))


def is_missing(text: str) -> bool:
    """Whether a cell only says that nothing is known: NA, null, ?, -, and the like.

    >>> [is_missing(text) for text in ("N/A", "?", "--", "0", "P1")]
    [True, True, True, False, False]
    """
    return _SAYS_ANYTHING.search(text) is None or _MISSING.fullmatch(text.casefold()) is not None


def _no_number(cell: str) -> tuple[str, str]:
    if not cell:
        return "is empty", _DROP
    if is_missing(cleaned(cell)):
        return f"{_NUMBER}: a mark for missing", _DROP
    if not _TOO_LARGE.fullmatch(cell):
        for shape, said in _SHAPES:
            if shape.fullmatch(cell):
                return said
    return _NUMBER, _DROP


def _no_value(text: str, numerals: AbstractSet[float | None], capitals: AbstractSet[str]) -> tuple[str, str]:
    """Says how a cell almost is one of the plan's values, but not which."""
    message, hint = "is not one of the plan's values", "correct the cell, or the plan's list"
    if not text:
        return "is empty", hint
    if _number(text) in numerals:
        message += ", though equal to one as a number: values are compared as text"
        return message, "write it as the plan does"
    if text.casefold() in capitals:
        return f"{message}, but for capitals", "write it as the plan does"
    return message, hint


def _number(text: str) -> float | None:
    """The number that a text is, if no other text of so many digits is the same float."""
    return as_number(text) if len(text) <= MAX_DIGITS else None
