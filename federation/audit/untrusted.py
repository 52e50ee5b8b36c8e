"""Reads untrusted text and JSON strictly, so that two readers cannot see two things in it.

Readers of JSON differ about a name that stands twice in an object, a byte order mark, NaN, a number too large for a
float, half a surrogate: what one reader overlooks another may believe. All of them are refused here.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

MAX_DEPTH = 32
_MAX_DIGITS = 20


class Torn(ValueError):
    """The JSON text is cut short, as a killed process leaves it."""


def is_regular(path: Path) -> bool:
    """Whether `path` is a file that ends: no folder, no pipe, no device."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def text_of(path: Path) -> str:
    """The text of a regular file. OSError, or ValueError where it is not UTF-8."""
    if not is_regular(path):
        raise OSError("no regular file")
    return path.read_bytes().decode("utf-8")


def json_of(text: str) -> Any:
    """The content of a JSON text. Torn if it is cut short; another ValueError if readers may differ about it."""
    try:
        found = json.loads(
            text, parse_int=_whole, parse_float=_number, parse_constant=_number, object_pairs_hook=_object
        )
    except json.JSONDecodeError:
        raise Torn("no whole JSON text") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check(found)
    return found


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number of no use")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number that is none")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that stands twice")
    return found


def _check(found: Any) -> None:
    """ValueError for a text that UTF-8 cannot encode, and for more than MAX_DEPTH levels."""
    level = [found]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                value.encode()
        level = below
    if level:
        raise ValueError("nested too deeply")
