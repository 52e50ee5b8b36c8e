"""What a plan could say of a column of a public table; guesses that a person has to read.

Nothing is guessed of what may be free text or an identifier: such a column is left out, and named. Whatever is
proposed, the plan's own reader takes every cell of the column.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np
from pydantic import ValidationError

from clients.data.cells import is_missing
from clients.data.encoding.encoded import of_numbers, of_texts
from clients.data.sources.numerals import parsed
from federation.plan.columns.dates import ISO, Date, Form
from federation.plan.columns.features import Categorical, Feature, Hashed, Numeric
from federation.plan.identifiers import MAX_DIGITS, are_told_apart, cleaned, is_whole
from federation.plan.numerals import as_text

MOST_VALUES = 20
_FEW_NUMBERS = 10  # different whole numbers in a column that are taken for codes
_UNIQUE = 0.9  # different cells of a column, as a share of its rows, from which on it may tell people apart
_LONG = 60  # characters of a cell
_ENOUGH = 20  # rows, for a word on how many cells are unique
_DENSE = 0.1  # of all whole numbers of a span, from which on they were given one after the other
_ROUND = 0.3  # of whole numbers, multiples of ten: three times as many as chance makes
_AS_LONG = 0.9  # of whole numbers, with as many digits as each other
_EVEN = (
    1.6  # Kolmogorov's distance from even, times the root of how many: chance exceeds it once in a hundred
)
_MOST_LISTED = 60  # values in a list; of more codes, a hash
_LEAST_HASH, _MOST_HASH = 8, 64
_OF_A_COLUMN = 2000  # records of all sites, for each column that codes are hashed to
_TAIL = 20  # times a usual number, for the greatest one of a long tail, signs aside
_USUAL, _USUAL_OF_BOTH = 0.25, 0.5  # a quantile of what is not 0; many are near 0 where there are both signs
_STEPS = 20  # of a proposed range; it is rounded outwards to these

_ID = r"(id|ids|nr|nbr|no|num|number|code|key|uuid|guid|hash)"
_PERSON = r"(patient|pat|subject|person|participant|client|customer|member|account)"
_THING = rf"({_PERSON}|case|record|row|encounter|visit|admission|sample|specimen)"
_NAMED = re.compile(
    rf"id|{_THING}s?[ _.-]?{_ID}|.*[ _.-](id|uuid|guid)|mrn|nhs[ _.-]?n.*|ssn|iban|index|unnamed: ?\d+"
    r"|(first|last|full|sur|family|given|patient)[ _.-]?name|name|e?-?mail.*|(tele)?phone.*|address|street"
    r"|.*(nummer|num[eé]ro)|.*[ _.-]nr"
    r"|zip([ _.-]?code)?|post(al)?[ _.-]?code|ip([ _.-]?address)?",
)
_SOME_ID = re.compile(r".*[ _.-]id")
_OF_THINGS = re.compile(rf"(.*[ _.-])?{_THING}s?[ _.-]?id")
_OF_PEOPLE = re.compile(
    rf"{_PERSON}s?([ _.-]?{_ID})?|p?id|mrn|ssn|nhs[ _.-]?n.*"
    r"|(fall|patienten|personen|kunden|konto)[ _.-]?(nr|nummer|id)"
)
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T].*)?|\d{8}T.*|\d{1,2}[-. ][^\W\d_]{3,}[-. ]\d{2,4}")
_FORMS = (
    *("%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d-%b-%Y", "%d %b %Y", "%d%b%Y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y"),
)
_AMOUNT = re.compile(
    r"(.*[ _.-])?(amounts?|amt|income|salary|wages?|price|costs?|balance|payments?|revenue|turnover)([ _.-].*)?"
)
_NUMBERED = re.compile(r"\d")
_CODE = re.compile(r"[\w.:/+()&'-]{1,40}")
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


def judged(
    name: str, cells: Sequence[str], numerals: Sequence[str] | None = None, records: int | None = None
) -> Judged:
    """What a plan could say of a column with these cells; `numerals` are the same as numbers would be read.

    `records` of all sites together; as many as there are cells, if left out.
    """
    plain = {cell: cleaned(cell) for cell in set(cells)}
    texts, numerals = [plain[cell] for cell in cells], cells if numerals is None else numerals
    silent = {text for text in set(texts) if is_missing(text)}
    known = [text for text in texts if text not in silent]
    apart = _left_out(name, texts, known) or _told_by_name(name, known)
    if apart is not None:
        return apart
    numbers = parsed([cell.strip() for cell, text in zip(numerals, texts, strict=True) if text not in silent])
    if any(map(_DATE.fullmatch, set(known))):
        found = _of_dates(name, known)
    elif _is_called_id(name):
        found = _of_values(name, known, "", None)
    elif not np.isnan(numbers).any() and not any(map(_PADDED.fullmatch, set(known))):
        found = _of_numbers(name, known, numbers.tolist())
    else:
        found = _of_texts(name, known, records or len(cells))
    if found.feature is not None and silent:
        found = _with_missing(found, len(texts) - len(known), len(texts))
    if found.feature is not None and not _fits(found.feature, cells, numerals):
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


def _left_out(name: str, texts: list[str], known: list[str]) -> Judged | None:
    """Columns without anything to learn from, or that no reader would take."""
    if not name or not name.isprintable():
        return Judged(name, None, "has no name that a plan can hold")
    if not known:
        return Judged(name, None, "is empty")
    if len(set(texts)) == 1:
        return Judged(name, None, "is the same in every row")
    return None


def _told_by_name(name: str, texts: list[str]) -> Judged | None:
    """Columns that are called as identifiers are; one of a few values that recur is a code of something else."""
    plain_name, different = _plain(name), len(set(texts))
    is_code = _is_called_id(name) and different <= min(_MOST_LISTED, len(texts) / _ENOUGH)
    numbered = different > 2 and all(map(_NUMBERED.search, set(texts)))  # a member is 17, or "yes"
    is_of_people = bool(_OF_PEOPLE.fullmatch(plain_name)) and (numbered or bool(_NAMED.fullmatch(plain_name)))
    if is_code or not (is_of_people or _NAMED.fullmatch(plain_name)):
        return None
    is_of_people = is_of_people and different < len(texts)
    return Judged(name, None, "possible identifier, by its name", is_of_people)


def _plain(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).casefold()


def _is_called_id(name: str) -> bool:
    """Whether a name ends as an identifier's does, and says neither of people nor of records."""
    return bool(_SOME_ID.fullmatch(_plain(name))) and not _OF_THINGS.fullmatch(_plain(name))


def _with_missing(found: Judged, missing: int, count: int) -> Judged:
    """The same where some cells say nothing: in a column of their own."""
    if found.feature is None:
        return found
    rule = "category" if isinstance(found.feature, Categorical | Hashed) else "indicator"
    shape = found.feature.model_dump(exclude_none=True) | {"missing": rule}
    why = f"{found.why}; {missing} of {count} cells say nothing"
    return Judged(found.name, type(found.feature).model_validate(shape), why, found.names_people)


def _of_dates(name: str, texts: list[str]) -> Judged:
    """A column of dates, if there is one way alone in which all of them can be read."""
    different = set(texts)
    plain = all(map(Form(ISO).read, different))  # which every other form takes, too
    found = [ISO] if plain else [form for form in _FORMS if all(map(Form(form).read, different))]
    if not found:
        return Judged(name, None, "holds dates in several ways, or other texts beside them")
    if len(found) > 1:
        ways = " or ".join(found)
        return Judged(name, None, f"holds dates, and nothing says whether they are {ways}")
    days = [day for text in different if (day := Form(found[0]).read(text)) is not None]
    ends = {"since": f"{min(days).year:04}-01-01", "until": f"{max(days).year:04}-12-31"}
    why = 'whole years around all dates; the model sees days; or take = ["days", "month", "weekday"]'
    return _proposed(name, {"date": found[0], **ends}, why)


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
    if are_whole and tell_apart(sorted(set(numbers)), count, is_amount=bool(_AMOUNT.fullmatch(_plain(name)))):
        return Judged(
            name,
            None,
            "possible identifier: whole numbers, nearly all different; if it measures, add its range",
        )
    sizes = [abs(number) for number in numbers if number != 0]
    if sizes and max(sizes) > _TAIL * float(np.quantile(sizes, _USUAL if low >= 0 else _USUAL_OF_BOTH)):
        scale = "log" if low > 0 else "symlog"
        least = _power(low, ROUND_FLOOR) if low > 0 else -_power(-low, ROUND_CEILING) if low < 0 else 0.0
        most = _power(high, ROUND_CEILING) if high > 0 else 0.0
        shape = {"low": least, "high": most, "scale": scale}
        return _proposed(name, shape, "a long tail, so on the scale of its logarithm")
    ends = outwards(low, high)
    shape = {"low": float(ends[0]), "high": float(ends[1])}
    return _proposed(name, shape, "a range, rounded outwards")


def tell_apart(numbers: Sequence[float], count: int, *, is_amount: bool = False) -> bool:
    """Whether whole numbers, these in order in `count` cells, may be given to people rather than be measured.

    Given ones are nearly all different, and without pattern: in a row, or close to it, or all of as many digits, or
    spread evenly. Measured ones crowd somewhere, are short here and long there, or are rounded. What is called an
    amount is one, unless it is in a row.

    >>> tell_apart([5000 + 37 * n for n in range(40)], 40), tell_apart([10 * 2**n for n in range(40)], 40)
    (True, False)
    """
    low, high, different = numbers[0], numbers[-1], len(numbers)
    step = math.gcd(*(int(number - low) for number in numbers)) or 1
    taken = different / ((high - low) / step + 1)  # of the numbers that there would be
    if different == count and taken == 1:
        return True
    if is_amount or count < _ENOUGH or different < _UNIQUE * count:
        return False
    if sum(number % 10 == 0 for number in numbers) > _ROUND * different:
        return False
    if taken > _DENSE:
        return True
    long = Counter(len(as_text(abs(number))) for number in numbers)
    places = (np.array(numbers) - low) / (high - low)
    uneven = np.abs(places - np.arange(different) / (different - 1)).max() * math.sqrt(different)
    return long.most_common(1)[0][1] >= _AS_LONG * different or bool(uneven < _EVEN)


def _power(number: float, rounding: str) -> float:
    """The power of ten below or above a number."""
    exponent = Decimal(repr(number)).log10().to_integral_value(rounding)
    return float(Decimal(10) ** exponent)


def _of_texts(name: str, texts: list[str], records: int) -> Judged:
    different, count = len(set(texts)), len(texts)
    longest, said = max(map(len, texts)), f"{different} different texts in {count} rows"
    numbers = int(np.isfinite(parsed(texts)).sum())
    are_codes = all(map(_CODE.fullmatch, set(texts)))
    if numbers > count / 2 and not are_codes and not any(map(_PADDED.fullmatch, set(texts))):
        return Judged(name, None, f"{count - numbers} of {count} cells are no numbers, the others are")
    if longest > _LONG:
        return Judged(name, None, 'free text; to learn from it, write { text = "words", width = 512 }')
    if different >= _UNIQUE * count and different > 1:
        return Judged(name, None, f"possible identifier: {said}")
    return _of_values(name, texts, said, records if are_codes else None)


def _of_values(name: str, texts: list[str], said: str, records: int | None) -> Judged:
    """Few values are listed, some more of them with room for others; of many codes of so many records, a hash."""
    different, many = len(set(texts)), max(2, len(texts) / 2)
    people = different > MOST_VALUES and bool(_OF_PEOPLE.fullmatch(name.casefold()))
    values = listed(texts) if different <= min(_MOST_LISTED, many) and not people else None
    if values is not None and different <= MOST_VALUES:
        return _proposed(name, {"values": values}, f"{len(values)} values")
    if values is not None:
        why = f"{len(values)} values, so there may be others: these share a column"
        return _proposed(name, {"values": values, "other": True}, why)
    if records is not None and MOST_VALUES < different <= many and not people:
        return _hashed(name, said, records)
    return Judged(name, None, f"free text, or codes that have to be grouped: {said}", people)


def _hashed(name: str, said: str, records: int) -> Judged:
    """So many columns, a power of two, that each has records enough to stand out of the noise.

    The rule is public: it knows how many records there are, and nothing of the codes in them.
    """
    wide = 1 << max(0, (records // _OF_A_COLUMN).bit_length() - 1)
    wide = min(max(wide, _LEAST_HASH), _MOST_HASH)
    rule = f"by rule for {records:,} records: more columns take more noise"
    return _proposed(
        name, {"hash": wide}, f"{said}: codes, each in one of {wide} columns by its hash, {rule}"
    )


def _proposed(name: str, shape: Mapping[str, object], why: str) -> Judged:
    kinds: Mapping[str, type[Categorical | Hashed | Date]] = {
        "values": Categorical,
        "hash": Hashed,
        "date": Date,
    }
    kind: type[Feature] = next((kinds[key] for key in shape if key in kinds), Numeric)
    try:
        return Judged(name, kind.model_validate({"name": name, **shape}), why)
    except (ValidationError, ValueError):
        return Judged(name, None, "no plan can hold its numbers or values")


def _fits(feature: Feature, cells: Sequence[str], numerals: Sequence[str]) -> bool:
    """Whether the plan's own reader takes every cell."""
    stripped = list(map(str.strip, numerals if isinstance(feature, Numeric) else cells))
    if isinstance(feature, Numeric):
        numbers = parsed(stripped)
        inside = (feature.low <= numbers) & (numbers <= feature.high) | np.isnan(numbers)
        return not of_numbers(feature, stripped).faults and bool(inside.all())
    return not of_texts(feature, stripped).faults


def _order(text: str) -> tuple[bool, float, str]:
    """Numbers by size, then texts by letters."""
    number = parsed([text])[0]
    return bool(math.isnan(number)), 0.0 if math.isnan(number) else float(number), text
