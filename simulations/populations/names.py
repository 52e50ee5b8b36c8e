"""Names of sites. A value of a column becomes one if people deal by it; no error shows the value."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from clients.policy import SITE_ID
from federation.errors import DataError
from simulations.populations.columns import Classes, Columns

_LONGEST = 64
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # no name of a file there


def numbered(count: int) -> tuple[str, ...]:
    """Names of sites that are nobody's.

    >>> numbered(3), numbered(10)[0]
    (('site-1', 'site-2', 'site-3'), 'site-01')
    """
    return tuple(f"site-{number:0{len(str(count))}}" for number in range(1, count + 1))


def site_name(value: str) -> str:
    """A value as a name of a site: letters, digits, ".", "-" and "_"; empty if nothing of that is in it.

    >>> site_name("St. Mary's (North)"), site_name("Zürich"), site_name("../etc"), site_name("?")
    ('St.-Mary-s-North', 'Zurich', 'etc', '')
    """
    letters = unicodedata.normalize("NFKD", value)
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return _UNFIT.sub("-", plain)[:_LONGEST].strip("._-")


def names_of(by: Classes, columns: Columns, where: str) -> tuple[str, ...]:
    """The name of each value's site. DataError, which shows no value, if two have one name, or one has none."""
    names = tuple(map(site_name, by.values))
    rows = _first_rows(by, columns)
    for name, row in zip(names, rows, strict=True):
        if not SITE_ID.fullmatch(name) or _WINDOWS.fullmatch(name):
            message = f'{where}: row {row}, column "{by.column}": makes no name of a site'
            raise DataError(message, hint="write letters and digits there, up to 64")
    seen: dict[str, int] = {}
    for name, row in zip(names, rows, strict=True):
        if (other := seen.setdefault(name.lower(), row)) != row:
            first, second = sorted((other, row))
            both = f'rows {first} and {second}, column "{by.column}"'
            message = f"{where}: {both}: two values make one name of a site"
            hint = "only letters, digits, ., - and _ tell names apart, and no capitals: write one value in one way"
            raise DataError(message, hint=hint)
    return names


def _first_rows(by: Classes, columns: Columns) -> Sequence[int]:
    """Where each value stands first, as its people find it."""
    first = dict.fromkeys(range(len(by.values)), -1)
    for place, code in enumerate(by.codes.tolist()):
        if first[code] < 0:
            first[code] = columns.lines[place]
    return list(first.values())
