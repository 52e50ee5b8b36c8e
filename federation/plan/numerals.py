"""Numbers as texts: how a cell is read as one, and how one is written in plans and files."""

from __future__ import annotations

from federation.plan.identifiers import MAX_DIGITS


def as_number(text: str) -> float | None:
    """The finite number that a text is, or None. Digits only: "1_000" and "nan" are texts."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") and "_" not in text else None


def as_text(number: float) -> str:
    """A finite number as people, TOML and CSV files write it: a whole one without decimals.

    >>> [as_text(number) for number in (100.0, 0.05, 1e-9, -0.0, 1e15)]
    ['100', '0.05', '1e-09', '0', '1000000000000000.0']
    """
    number = float(number)
    return str(int(number)) if number.is_integer() and abs(number) < 10**MAX_DIGITS else repr(number)
