"""What a plan could say of a column of a public table; guesses that a person has to read.

Nothing is guessed of what may be free text, an identifier or a date: such a column is left out, and named. Whatever
is proposed, the plan's own reader takes every cell of the column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from clients.data.cells import codes, is_missing, parsed
from federation.plan.features import Categorical, Feature, Numeric
from federation.plan.identifiers import MAX_DIGITS, are_told_apart, cleaned, is_whole
from federation.plan.numerals import as_text

MOST_VALUES = 20
_FEW_NUMBERS = 10  # different whole numbers in a column that are taken for codes
_UNIQUE = 0.9  # different cells of a column, as a share of its rows, from which on it may tell people apart
_LONG = 60  # characters of a cell
_ENOUGH = 20  # rows, for a word on how many cells are unique
_STEPS = 20  # of a proposed range; it is rounded outwards to these

_ID = r"(id|ids|nr|no|num|number|code|key|uuid|guid|hash)"
_PERSON = r"(patient|pat|subject|person|participant|client|customer|member|account)"
_THING = rf"({_PERSON}|case|record|row|encounter|visit|admission|sample|specimen)"
_NAMED = re.compile(
    rf"id|{_THING}s?[ _.-]?{_ID}|.*[ _.-](id|uuid|guid)|mrn|nhs[ _.-]?n.*|ssn|iban|index|unnamed: ?\d+"
    r"|(first|last|full|sur|family|given|patient)[ _.-]?name|name|e?-?mail.*|(tele)?phone.*|address|street"
    r"|zip([ _.-]?code)?|post(al)?[ _.-]?code|ip([ _.-]?address)?",
)
_OF_PEOPLE = re.compile(rf"{_PERSON}s?([ _.-]?{_ID})?|mrn|ssn|nhs[ _.-]?n.*")
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T].*)?|\d{8}T.*|\d{1,2}[-. ][^\W\d_]{3,}[-. ]\d{2,4}")
_PADDED = re.compile(r"[-+]?0[0-9].*")
_WHOLE_AS_FLOAT = re.compile(r"(0|-?[1-9][0-9]*)\.0")


@dataclass(frozen=True)
class Judged:
    """A column, what a plan could say of it, and why; without a feature it is left out.

    `names_people`: whether its name, or how often its cells recur, says that it tells whose a row is.
    """

    name: str
    feature: Feature | None
    why: str
    names_people: bool = False


def judged(name: str, cells: Sequence[str], numerals: Sequence[str] | None = None) -> Judged:
    """What a plan could say of a column with these cells; `numerals` are the same as numbers would be read."""
    texts, numerals = list(map(cleaned, cells)), cells if numerals is None else numerals
    apart = _left_out(name, texts) or _told_by_name(name, texts)
    if apart is not None:
        return apart
    numbers = parsed(list(map(str.strip, numerals)))
    if not np.isnan(numbers).any() and not any(map(_PADDED.fullmatch, set(texts))):
        found = _of_numbers(name, texts, numbers.tolist())
    else:
        found = _of_texts(name, texts)
    if found.feature is not None and not _fits(found.feature, cells, numbers):
        return Judged(name, None, "a reader would refuse some of its cells")
    return found


def listed(texts: Sequence[str]) -> tuple[str, ...] | None:
    """The different texts of a column as a plan lists them, in order; None if they are no list of values."""
    found = set(texts)
    if all(_WHOLE_AS_FLOAT.fullmatch(text) or is_whole(text) for text in found):
        found = {_WHOLE_AS_FLOAT.sub(r"\1", text) for text in found}  # 1.0 is how pandas writes a 1
    values = tuple(sorted(found, key=_order))
    return values if all(values) and are_told_apart(values) else None


def outwards(low: float, high: float) -> tuple[Decimal, Decimal]:
    """A plain range around two numbers, of about `_STEPS` steps of 1, 2 or 5 times a power of ten.

    >>> [str(end) for end in outwards(29, 77)], [f"{end:f}" for end in outwards(0.0531, 0.1634)]
    (['25', '80'], ['0.05', '0.17'])
    """
    least, most = Decimal(repr(low)), Decimal(repr(high))
    rough = (most - least) / _STEPS
    power = Decimal(1).scaleb(rough.adjusted())
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough)
    ends = (least / step).to_integral_value(ROUND_FLOOR), (most / step).to_integral_value(ROUND_CEILING)
    return (ends[0] * step).normalize() + 0, (ends[1] * step).normalize() + 0


def _left_out(name: str, texts: list[str]) -> Judged | None:
    """Columns without anything to learn from, or that no reader would take."""
    empty = texts.count("")
    if not name or not name.isprintable():
        return Judged(name, None, "has no name that a plan can hold")
    if empty == len(texts):
        return Judged(name, None, "is empty")
    if empty:
        return Judged(
            name, None, f"{empty} of {len(texts)} cells are empty, and a site must have them filled"
        )
    if len(set(texts)) == 1:
        return Judged(name, None, "is the same in every row")
    return None


def _told_by_name(name: str, texts: list[str]) -> Judged | None:
    """Columns that are called as identifiers are, or whose cells are dates."""
    plain_name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold()
    if _NAMED.fullmatch(plain_name):
        repeated = len(set(texts)) < len(texts)
        is_of_people = bool(_OF_PEOPLE.fullmatch(plain_name)) and repeated
        return Judged(name, None, "possible identifier, by its name", is_of_people)
    if sum(1 for text in texts if _DATE.fullmatch(text)) > len(texts) / 2:
        return Judged(
            name, None, "holds dates: a plan takes a number in their place, such as an age in years"
        )
    return None


def _of_numbers(name: str, texts: list[str], numbers: list[float]) -> Judged:
    different, count = len(set(numbers)), len(numbers)
    are_whole = all(number.is_integer() for number in numbers)
    low, high = min(numbers), max(numbers)
    values = listed(texts) if are_whole and different <= min(_FEW_NUMBERS, max(2, count / 3)) else None
    if values is not None and all(map(is_whole, values)):
        either = f"; if they count or measure, write {{ low = {as_text(low)}, high = {as_text(high)} }}"
        return _proposed(name, {"values": values}, "whole numbers, few of them: taken for codes" + either)
    if are_whole and max(abs(low), abs(high)) >= 10**MAX_DIGITS:
        return Judged(name, None, f"possible identifier: whole numbers of more than {MAX_DIGITS} digits")
    in_a_row = different == count == high - low + 1
    if are_whole and (in_a_row or (count >= _ENOUGH and different >= _UNIQUE * count)):
        return Judged(name, None, "possible identifier: whole numbers, nearly all different")
    ends = outwards(low, high)
    shape = {"low": float(ends[0]), "high": float(ends[1])}
    return _proposed(name, shape, "a range, rounded outwards")


def _of_texts(name: str, texts: list[str]) -> Judged:
    different, count = len(set(texts)), len(texts)
    longest, said = max(map(len, texts)), f"{different} different texts in {count} rows"
    missing = sum(map(is_missing, texts))
    numbers = int(np.isfinite(parsed(texts)).sum())
    if numbers > count / 2 and not any(map(_PADDED.fullmatch, set(texts))):
        return Judged(name, None, f"{count - numbers} of {count} cells are no numbers, the others are")
    if longest > _LONG:
        return Judged(name, None, "free text")
    if different >= _UNIQUE * count:
        return Judged(name, None, f"possible identifier: {said}")
    values = listed(texts) if different <= min(MOST_VALUES, max(2, count / 2)) else None
    if values is None:
        people = bool(_OF_PEOPLE.fullmatch(name.casefold()))
        return Judged(name, None, f"free text, or codes that have to be grouped: {said}", people)
    marks = "; one of them says that nothing is known" if missing else ""
    return _proposed(name, {"values": values}, f"{len(values)} values{marks}")


def _proposed(name: str, shape: Mapping[str, object], why: str) -> Judged:
    kind = Categorical if "values" in shape else Numeric
    try:
        return Judged(name, kind.model_validate({"name": name, **shape}), why)
    except (ValidationError, ValueError):
        return Judged(name, None, "no plan can hold its numbers or values")


def _fits(feature: Feature, cells: Sequence[str], numbers: NDArray[np.float64]) -> bool:
    """Whether the plan's own reader takes every cell."""
    if isinstance(feature, Categorical):
        return not codes(cells, feature.name, feature.values)[1]
    return bool(((feature.low <= numbers) & (numbers <= feature.high)).all())


def _order(text: str) -> tuple[bool, float, str]:
    """Numbers by size, then texts by letters."""
    number = parsed([text])[0]
    return bool(math.isnan(number)), 0.0 if math.isnan(number) else float(number), text
