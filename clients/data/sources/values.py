"""Values of a database, a workbook or a columnar file as the cells that a CSV file would have.

One table has the same cells wherever it is kept, so that it gives the same records, and the same fingerprints to
the registry of pools. NULL and NaN are an empty cell; numbers are written in the shortest way that reads back as
the same number; dates and times as ISO 8601 has them, with a blank between.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from federation.plan.identifiers import MAX_DIGITS

_FRACTION = re.compile(r"(:\d\d)\.(\d*?)0*(?=$|[^0-9])")
_UTC = re.compile(r"(Z|[+-]00(:?00)?)$")


class NoCell(ValueError):
    """A value that no cell can hold, such as bytes: `args[0]` says what it is."""


def written(value: object) -> str:
    """A value as a cell. NoCell for bytes, lists and the like.

    >>> [written(value) for value in (None, True, 5, 0.1, float("nan"), Decimal("1.50"), date(2024, 1, 31))]
    ['', 'true', '5', '0.1', '', '1.50', '2024-01-31']
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    if isinstance(value, Decimal):
        return "" if value.is_nan() else format(value, "f")
    if isinstance(value, datetime | time):
        return stamped(str(value))
    if isinstance(value, int | date | UUID | timedelta):
        return str(value)
    raise NoCell("bytes" if isinstance(value, bytes | bytearray | memoryview) else "no single value")


def as_a_sheet_shows(value: object) -> str:
    """The same for a spreadsheet, in which 5 and 5.0 are one number that is shown as 5."""
    whole = str(int(value)) if isinstance(value, float) and value.is_integer() else ""
    return whole if 0 < len(whole) <= MAX_DIGITS else written(value)


def of_floats(texts: Iterable[str]) -> list[str]:
    """Floats, however another program writes them.

    >>> of_floats(["1e+15", "0.1", "nan", ""])
    ['1000000000000000.0', '0.1', '', '']
    """
    return [written(float(text)) if text else "" for text in texts]


def stamped(text: str) -> str:
    """A date with a time, or a time, with no more decimals than it needs, and UTC as +00:00.

    >>> stamped("2024-01-31T09:00:00.500000Z"), stamped("2024-01-31 09:00:00.000000"), stamped("09:00:00.5+00")
    ('2024-01-31 09:00:00.5+00:00', '2024-01-31 09:00:00', '09:00:00.5+00:00')
    """
    short = _FRACTION.sub(lambda found: found[1] + (f".{found[2]}" if found[2] else ""), text)
    return _UTC.sub("+00:00", short.replace("T", " ", 1))
