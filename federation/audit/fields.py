"""Compares report.json field by field: what has to be there, and what is there besides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from federation.audit.findings import Findings

_TOLERANCE = 1e-4  # relative: versions of a library may round differently


def differs(what: str, found: Findings) -> None:
    """Add the finding that report.json is wrong: `what` names the field and says how."""
    found.add("report-mismatch", f"report.json: {what}")


def check_same(expected: Any, got: Any, where: str, found: Findings) -> None:
    """Check that `got` has every field of `expected`, and that every list has the same length.

    Numbers may differ by a relative 1e-4. `where` is the dotted place of `got` in the report, "" for the whole.
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key, value in expected.items():
            check_same(value, got.get(key), f"{where}.{key}" if where else key, found)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, value in enumerate(expected):
            check_same(value, got[index], f"{where}[{index}]", found)
    elif not _is_same(expected, got):
        differs(f"{where} is not what plan, receipts and ledgers make of it", found)


def _is_same(expected: Any, got: Any) -> bool:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in (expected, got)):
        return math.isclose(expected, got, rel_tol=_TOLERANCE, abs_tol=1e-9)
    if expected == math.inf:
        return got is None
    return type(expected) is type(got) and bool(expected == got)


def extra(expected: Any, got: Any, where: str = "") -> list[str]:
    """Dotted names of the fields in `got` that are not in `expected`; rows of a list count once.

    >>> extra({"seed": 7, "sites": [{"id": "ash"}]}, {"seed": 7, "name": "x", "sites": [{"id": "ash", "x": 1}]})
    ['name', 'sites[].x']
    """
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        names = []
        for key, value in got.items():
            place = f"{where}.{key}" if where else str(key)
            names += extra(expected[key], value, place) if key in expected else [place]
        return names
    if isinstance(expected, list) and isinstance(got, list) and expected and got:
        return extra(expected[0], got[0], f"{where}[]")
    return []
