"""Cells as numbers and as positions in a list of values. A cell that is neither is a fault, never shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from clients.data.distinct import Distinct, Said
from clients.data.faults import Fault
from clients.data.sources.numerals import parsed
from federation.plan.identifiers import MAX_DIGITS, cleaned, spellings
from federation.plan.numerals import as_number

# What people and programs write where they know nothing, in lower case. So does a text without letters and digits.
_MISSING = re.compile(
    r"na|n/a|n\.a\.|<na>|nan|nat|\(?null\)?|none|nil|\\n|unk|unknown|missing|not (known|available)"
    r"|unbekannt|inconnue?|desconocid[oa]|sconosciut[oa]|onbekend|anonym(ous|e|o)?|x{3,}"
    r"|#(n/a|na|ref!|value!|name\?|div/0!|num!|null!)"
)

_SAYS_ANYTHING = re.compile(r"[^\W_]")

_DROP = "drop or fill such rows at the site, or agree on a plan with a rule for missing"
FILL = "drop or fill such rows at the site: no plan says what they mean"
_ALONE = "write the number alone"
_NUMBER = "is not a finite number"
_SERIAL = re.compile(r"[1-9][0-9]{4}(\.[0-9]+)?")
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
    cells: Sequence[str], column: str, decimal: str = ".", *, is_filled: bool = False
) -> tuple[NDArray[np.float64], tuple[Fault, ...], NDArray[np.bool_]]:
    """The cells as finite numbers, (n,), or NaN; what is wrong; and where nothing is known, if `is_filled`.

    `decimal` is what marks decimals in the file. The cells have a point for it, and a comma for its points.
    """
    found = parsed(cells)
    wrong, filled = np.isnan(found), np.zeros(len(found), np.bool_)
    if not wrong.any():
        return found, (), filled
    odd = np.flatnonzero(wrong)
    seen = Distinct.of([cells[row] for row in odd.tolist()])
    filled[odd] = is_filled and seen.where(says_nothing)

    def said(cell: str) -> Said:
        fault = _no_number(cell)
        return _WITH_COMMAS if fault is _MARKED and decimal == "," else fault

    return found, seen.faults(column, said, ~filled[odd], odd), filled


def codes(
    cells: Sequence[str],
    column: str,
    values: Sequence[str],
    filler: int | None = None,
    bucket: int | None = None,
    cure: str = _DROP,
) -> tuple[NDArray[np.int64], tuple[Fault, ...], NDArray[np.bool_]]:
    """The position of every cell in `values`, (n,), or -1; what is wrong; and where nothing is known, if filled.

    A mark of missing that `values` lists is that value; others are at `filler`, or `cure` says what can be done.
    Other texts are at `bucket`.
    """
    known = spellings(values)
    numerals, capitals = {_number(text) for text in known} - {None}, {text.casefold() for text in known}

    def place(text: str) -> int | None:
        return known.get(text, bucket)

    def said(text: str) -> Said:
        message, hint = _no_value(text, numerals, capitals)
        return message, cure if hint == _DROP else hint

    return _placed(Distinct.of(cells), column, place, said, filler, known)


def texts(
    cells: Sequence[str], column: str, place: Callable[[str], int], filler: int | None = None
) -> tuple[NDArray[np.int64], tuple[Fault, ...], NDArray[np.bool_]]:
    """The same for texts that nobody lists: `place` says where each of them is."""

    def said(text: str) -> Said:
        return ("is a mark for missing" if text else "is empty"), _DROP

    return _placed(Distinct.of(cells), column, place, said, filler, ())


def _placed(
    seen: Distinct,
    column: str,
    place: Callable[[str], int | None],
    said: Callable[[str], Said],
    filler: int | None,
    known: Container[str],
) -> tuple[NDArray[np.int64], tuple[Fault, ...], NDArray[np.bool_]]:
    plain = {cell: cleaned(cell) for cell in seen.cells}
    silent = {cell for cell, text in plain.items() if text not in known and is_missing(text)}
    found = [filler if cell in silent else place(plain[cell]) for cell in seen.cells]
    places = np.array([-1 if at is None else at for at in found], np.int64)[seen.rows]
    faults = seen.faults(column, lambda cell: said(plain[cell]), places < 0)
    filled = np.zeros(len(places), np.bool_) if filler is None else seen.where(silent.__contains__)
    return places, faults, filled


def says_nothing(cell: str) -> bool:
    """Whether a cell in the place of a number or date only says that nothing is known.

    >>> [says_nothing(cell) for cell in ("", "?", "-", "NA", "###", "<5")]
    [True, True, True, True, False, False]
    """
    shape = _shape(cell)
    return is_missing(cleaned(cell)) and (shape is None or len(cell) == 1)


def is_missing(text: str) -> bool:
    """Whether a cell only says that nothing is known: NA, null, ?, -, and the like.

    >>> [is_missing(text) for text in ("N/A", "?", "--", "0", "P1")]
    [True, True, True, False, False]
    """
    return _SAYS_ANYTHING.search(text) is None or _MISSING.fullmatch(text.casefold()) is not None


def no_date(cell: str, form: str) -> tuple[str, str]:
    """What is wrong with a cell that is no date of this form."""
    told = f"is no date as {form} has it"
    if not cell:
        return "is empty", _DROP
    if says_nothing(cell):
        return f"{told}: a mark for missing", _DROP
    if _SERIAL.fullmatch(cell):
        return (
            f"{told}: it looks like a spreadsheet's number of a day",
            "format the column as dates, and export",
        )
    return told, "write it so, or like 2024-01-31"


def _no_number(cell: str) -> tuple[str, str]:
    if not cell:
        return "is empty", _DROP
    if says_nothing(cell):
        return f"{_NUMBER}: a mark for missing", _DROP
    shape = _shape(cell)
    return (_NUMBER, _DROP) if shape is None else shape


def _shape(cell: str) -> Said | None:
    """What a cell is instead of a number, where that can be told."""
    if _TOO_LARGE.fullmatch(cell):
        return None
    return next((said for pattern, said in _SHAPES if pattern.fullmatch(cell)), None)


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
