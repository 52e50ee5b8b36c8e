"""Words that go with numbers, wherever people read them."""

from __future__ import annotations


def many(number: int, what: str, plural: str = "") -> str:
    """So many things.

    >>> many(1, "record"), many(2, "record"), many(2, "entry", "entries")
    ('1 record', '2 records', '2 entries')
    """
    return f"{number} {what if number == 1 else plural or what + 's'}"
