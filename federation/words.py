"""Texts for people: on one line, the first few of many, numbers of things."""

from __future__ import annotations

from collections.abc import Sequence

_MAX_NAMED = 3


def many(number: int, what: str, plural: str = "") -> str:
    """So many things.

    >>> many(1, "record"), many(2, "record"), many(2, "entry", "entries")
    ('1 record', '2 records', '2 entries')
    """
    return f"{number} {what if number == 1 else plural or what + 's'}"


def printable(text: str) -> str:
    """The text on one line: file names may hold anything."""
    return "".join(c if c.isprintable() else " " for c in text)


def some(things: Sequence[object]) -> str:
    """The first few of many.

    >>> some([2, 5, 7, 9]), some(["a", "b"])
    ('2, 5, 7, ...', 'a, b')
    """
    return ", ".join([str(thing) for thing in things[:_MAX_NAMED]] + ["..."] * (len(things) > _MAX_NAMED))


def spans(numbers: Sequence[int]) -> str:
    """Ascending numbers, neighbors together.

    >>> spans([1, 2, 3, 7]), spans([4])
    ('1 to 3, 7', '4')
    """
    starts = [place for place, number in enumerate(numbers) if place == 0 or numbers[place - 1] != number - 1]
    ends = [*(start - 1 for start in starts[1:]), len(numbers) - 1]
    pairs = [(numbers[start], numbers[end]) for start, end in zip(starts, ends, strict=True)]
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in pairs)
