"""Cells as numbers and as positions in a list of values. A cell that is neither is a fault, never shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from clients.data.faults import Fault, collected
from federation.plan.identifiers import MAX_DIGITS, cleaned, spellings
from federation.plan.numerals import as_number

# What people and programs write where they know nothing, in lower case. So does a text without letters and digits.
_MISSING = re.compile(
    r"na|n/a|n\.a\.|<na>|nan|nat|\(?null\)?|none|nil|\\n|unk|unknown|missing|not (known|available)"
    r"|unbekannt|inconnue?|desconocid[oa]|sconosciut[oa]|onbekend|anonym(ous|e|o)?|x{3,}"
    r"|#(n/a|na|ref!|value!|name\?|div/0!|num!|null!)"
)

_SAYS_ANYTHING = re.compile(r"[^\W_]")

_DROP = "drop or fill such rows at the site, before training"
_ALONE = "write the number alone"
_NUMBER = "is not a finite number"
_TOO_LARGE = re.compile(r"[-+]?[0-9.]+e[-+]?[0-9]+", re.IGNORECASE)
_MARKED = (
    f"{_NUMBER}: it has a comma, or a mark between thousands",
    'write it like 1234.5, with a point alone; decimal commas are declared by data.decimal = "," in site.toml',
)
_WITH_COMMAS = (
    f"{_NUMBER}: it has a point, or a mark between thousands, and data.decimal says commas",
    "write it like 1234,5, with a comma alone",
)
_SHAPES: tuple[tuple[re.Pattern[str], tuple[str, str]], ...] = (
    (
        re.compile(
            r"[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}([ T].*)?|[0-9]{1,2}[-. ][^\W\d_]{3,}\.?(.*[0-9]+)?"
        ),
        (f"{_NUMBER}: it looks like a date", "write the number; a spreadsheet may have made a date of it"),
    ),
    (
        re.compile(r"[-+]?[0-9]+([., '\u00a0\u2009\u202f][0-9]+)+"),
        _MARKED,
    ),
    (re.compile("#+"), (f"{_NUMBER}: a spreadsheet's column was too narrow", "widen it and export again")),
    (re.compile("['\"`\u2018\u2019=].*"), (f"{_NUMBER}: it begins with a quote or =", _ALONE)),
    (re.compile("[\u2010-\u2015\u2212].*"), (f"{_NUMBER}: it begins with a dash", "write minus as -")),
    (
        re.compile(r"[<>=~\u2264\u2265\u00b1]+\s*[-+]?[0-9].*|[-+]?[0-9][0-9.,]*\s*[^\W\d_.].*|[0-9].*%"),
        (f"{_NUMBER}: it has a sign or a unit beside it", _ALONE),
    ),
)


def numbers(
    cells: Sequence[str], column: str, decimal: str = "."
) -> tuple[NDArray[np.float64], tuple[Fault, ...]]:
    """The cells as finite numbers, (n,), and what is wrong; the numbers mean nothing if anything is.

    `decimal` is what marks decimals in the file. The cells have a point for it, and a comma for its points.
    """
    found = parsed(cells)
    wrong = np.flatnonzero(np.isnan(found)).tolist()
    said = {cell: _no_number(cell) for cell in {cells[row] for row in wrong}}
    if decimal == ",":
        said = {cell: _WITH_COMMAS if fault is _MARKED else fault for cell, fault in said.items()}
    return found, collected(column, ((row, said[cells[row]]) for row in wrong))


def parsed(cells: Sequence[str]) -> NDArray[np.float64]:
    """Each cell as a finite number, (n,); NaN where it is none, as `as_number` says.

    >>> parsed(["1.5", "nan", "1_000", "?"])
    array([1.5, nan, nan, nan])
    """
    try:  # four times as fast as one by one
        values = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        values = np.fromiter(map(_or_nan, cells), np.float64, len(cells))
    values[~np.isfinite(values)] = np.nan
    if "_" in "".join(cells):
        values[["_" in cell for cell in cells]] = np.nan
    return values


def _or_nan(cell: str) -> float:
    found = as_number(cell)
    return np.nan if found is None else found


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
    shape = None if _TOO_LARGE.fullmatch(cell) else next((s for s in _SHAPES if s[0].fullmatch(cell)), None)
    if is_missing(cleaned(cell)) and (shape is None or len(cell) == 1):
        return f"{_NUMBER}: a mark for missing", _DROP
    return (_NUMBER, _DROP) if shape is None else shape[1]


def _no_value(text: str, numerals: AbstractSet[float | None], capitals: AbstractSet[str]) -> tuple[str, str]:
    """Says how a cell almost is one of the plan's values, but not which."""
    message, hint = "is not one of the plan's values", "correct the cell, or the plan's list"
    if not text:
        return "is empty", _DROP
    if is_missing(text):
        return f"{message}: a mark for missing", _DROP
    if _number(text) in numerals:
        message += ", though equal to one as a number: values are compared as text"
        return message, "write it as the plan does"
    if text.casefold() in capitals:
        return f"{message}, but for capitals", "write it as the plan does"
    return message, hint


def _number(text: str) -> float | None:
    """The number that a text is, if no other text of so many digits is the same float."""
    return as_number(text) if len(text) <= MAX_DIGITS else None
