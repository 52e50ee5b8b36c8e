"""Identifiers: texts that name a value, a class or a person. An identifier is compared as text, never as a number.

Codes that are equal as numbers are different codes: 01234 and 1234, 1E2 and 100, 250.0 and 250.00 (ICD-9). Beyond
15 digits, two codes may even become one float. There is one exception, in `spellings`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

MAX_DIGITS = 15  # every whole number of so many digits is a float of its own, and every spreadsheet keeps it

_WHOLE = re.compile(rf"0|-?[1-9][0-9]{{0,{MAX_DIGITS - 1}}}")
_LEADING_ZEROS = re.compile(r"(?<![0-9.])0+(?=[0-9])")
_NO_DECIMALS = re.compile(r"(?<=[0-9])\.0+$")
_DECIMALS = re.compile(r"[0-9][.,][0-9]")
_OF_A_CODE = re.compile(r"[0-9][.,](?!0$)[0-9]")  # 250.1, 250.00 and E11.9, but not 1.0
# Characters that take no place on a screen and are not in the Unicode category Cf: joiners, fillers, selectors.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def cleaned(text: str) -> str:
    """The text as a reader sees it: canonical (NFC), without invisible characters and without blanks around it.

    >>> cleaned(" P1\\u200b "), cleaned("Mu\\u0308ller") == cleaned("M\\u00fcller")
    ('P1', True)
    """
    if not text.isascii():
        seen = "".join(_seen(character) for character in _UNSEEN.sub("", text))
        text = unicodedata.normalize("NFC", seen)
    return text.strip()


def folded(text: str) -> str:
    """An identifier without capitals, blanks, leading zeros, a final .0 and the width of its characters.

    Two identifiers with the same rest may be one that was written in two ways.

    >>> folded("P07"), folded("\\uff50 7"), folded("7.0"), folded("1.05")
    ('p7', 'p7', '7', '1.05')
    """
    plain = "".join((text if text.isascii() else cleaned(text)).casefold().split())
    if not plain.isascii():
        wide = unicodedata.normalize("NFKC", plain).casefold()
        plain = "".join(_digit(character) for character in wide if not character.isspace())
    if "0" not in plain:
        return plain
    return _LEADING_ZEROS.sub("", _NO_DECIMALS.sub("", plain))


def digest_of(text: str) -> bytes:
    """8 bytes that stand for an identifier, the same everywhere. Whoever guesses the identifier can tell."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def is_whole(text: str) -> bool:
    """Whether a text is a whole number as everybody writes it, and short enough to be a float of its own.

    >>> [is_whole(text) for text in ("0", "-7", "07", "7.0", "1234567890123456")]
    [True, True, False, False, False]
    """
    return _WHOLE.fullmatch(text) is not None


def spellings(values: Sequence[str]) -> dict[str, int]:
    """Every text that stands for one of a plan's values, and the position of that value. Cells are `cleaned` first.

    A value stands for itself. The exception: pandas writes the whole numbers of a column as 1.0 if one of its
    cells is empty, so 1.0 stands for 1, too. Not in a list with decimals: there 250.0 may be another code.

    >>> spellings(["0", "1"])
    {'0': 0, '1': 1, '0.0': 0, '1.0': 1}
    >>> spellings(["250", "250.1"]), spellings(["01", "1E2"])
    ({'250': 0, '250.1': 1}, {'01': 0, '1E2': 1})
    """
    texts = {cleaned(value): place for place, value in enumerate(values)}
    if any(_DECIMALS.search(text) for text in texts):
        return texts
    return texts | {f"{text}.0": place for text, place in texts.items() if is_whole(text)}


def are_told_apart(values: Sequence[str]) -> bool:
    """Whether a plan may list these values: no two are one text, nor 1 and 1.0 where no other decimals are codes.

    >>> are_told_apart(["250", "250.0", "250.00"]), are_told_apart(["01", "1"]), are_told_apart(["1", "1.0"])
    (True, True, False)
    """
    texts = {cleaned(value) for value in values}
    doubled = any(f"{text}.0" in texts for text in texts if is_whole(text))
    return len(texts) == len(values) and (not doubled or any(map(_OF_A_CODE.search, texts)))


def _seen(character: str) -> str:
    category = unicodedata.category(character)
    return "" if category == "Cf" else " " if category == "Zs" else character


def _digit(character: str) -> str:
    """The same digit in ASCII; any other character as it is."""
    return str(unicodedata.digit(character)) if character.isdecimal() else character
