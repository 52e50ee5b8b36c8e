"""Plain data: writes one canonical text (RFC 8785), reads strictly typed fields.

Hashes and signatures cover the canonical text, so two readers can never see two things in it. `Fields` takes each
field once, of one type, and refuses leftovers: a field that is not read would be a field that is not checked. All
problems are ValueErrors, such as "lacks 'round'"; the caller adds what the object was.

    >>> canonical({"b": 1.0, "a": "x"})
    '{"a":"x","b":1}'
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import rfc8785

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

MAX_WHOLE = 2**53 - 1  # the integers that every reader of JSON agrees on


def canonical(data: Mapping[str, JSON]) -> str:
    """RFC 8785 text: equal data, equal text. ValueError for NaN, infinity, lone surrogates, integers past 2^53."""
    content: Any = data
    return rfc8785.dumps(content).decode()


def settled(data: Mapping[str, JSON]) -> dict[str, JSON]:
    """The data as its canonical text is read back. ValueError if that text would not be canonical itself.

    JSON has one kind of number: 1e20 is written as an integer, and as such is past what can be written.
    """
    read = parsed(canonical(data))
    canonical(read)
    return read


def parsed(text: object) -> dict[str, JSON]:
    """The object that canonical text holds. ValueError for any other, even for a space or a repeated key."""
    try:
        content = json.loads(text) if isinstance(text, str) else None
        if isinstance(content, dict) and canonical(content) == text:
            return content
    except (ValueError, RecursionError):
        pass  # its message could quote the text
    raise ValueError("is no canonical JSON object")


def finite(value: float | None) -> float | None:
    """A number as JSON can hold it. JSON has no infinity, so None stands for "no bound"."""
    return value if value is not None and math.isfinite(value) else None


class Fields:
    """The fields of one object, each taken once; then `finish`."""

    def __init__(self, data: object) -> None:
        if not isinstance(data, Mapping):
            raise ValueError("is no object")
        self._left = dict(data)

    def has(self, name: str) -> bool:
        """Whether the field is there and was not taken."""
        return name in self._left

    def take(self, name: str) -> object:
        """Whatever the field holds."""
        if name not in self._left:
            raise ValueError(f"lacks {name!r}")
        return self._left.pop(name)

    def text(self, name: str) -> str:
        """A text, possibly empty."""
        value = self.take(name)
        if not isinstance(value, str):
            raise ValueError(f"has a {name!r} that is no text")
        return value

    def whole(self, name: str, lowest: int = 0) -> int:
        """An integer from `lowest` to 2^53 - 1; True is refused."""
        value = self.take(name)
        if type(value) is not int or not lowest <= value <= MAX_WHOLE:
            raise ValueError(f"has a {name!r} that is no whole number from {lowest}")
        return value

    def number(self, name: str) -> float:
        """A number."""
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"has a {name!r} that is no number")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or False."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise ValueError(f"has a {name!r} that is neither true nor false")
        return value

    def octets(self, name: str, size: int) -> bytes:
        """`size` bytes, written as lowercase hexadecimal digits."""
        return _octets(self.take(name), size, name)

    def rows(self, name: str) -> list[object]:
        """A list."""
        value = self.take(name)
        if not isinstance(value, list | tuple):
            raise ValueError(f"has a {name!r} that is no list")
        return list(value)

    def table(self, name: str) -> dict[str, Any]:
        """An object."""
        value = self.take(name)
        if not isinstance(value, Mapping):
            raise ValueError(f"has a {name!r} that is no object")
        return dict(value)

    def finish(self) -> None:
        """ValueError if a field is left over."""
        if self._left:
            raise ValueError(f"has an unknown field {min(map(str, self._left))!r}")


def _octets(value: object, size: int, name: str) -> bytes:
    """The bytes that lowercase hexadecimal digits stand for."""
    if not isinstance(value, str) or len(value) != 2 * size or not set(value) <= set("0123456789abcdef"):
        raise ValueError(f"has a {name!r} that is not {size} bytes in hexadecimal")
    return bytes.fromhex(value)
