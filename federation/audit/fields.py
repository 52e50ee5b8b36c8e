"""report.json field by field: what has to be there, and what is there besides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from federation.audit.findings import Findings

_TOLERANCE = 1e-4  # relative: versions of a library may round differently


def check_same(expected: Any, got: Any, where: str, found: Findings) -> None:
    """Everything that is expected is there, as it is expected; of lists, also nothing more."""
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        for key, value in expected.items():
            check_same(value, got.get(key), f"{where}.{key}" if where else key, found)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for index, value in enumerate(expected):
            check_same(value, got[index], f"{where}[{index}]", found)
    elif not _is_same(expected, got):
        found.add(
            "report-mismatch", f"report.json: {where} is not what plan, receipts and ledgers make of it"
        )


def _is_same(expected: Any, got: Any) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (expected, got))
    if numbers:
        return math.isclose(expected, got, rel_tol=_TOLERANCE, abs_tol=1e-9)
    if expected == math.inf:
        return got is None
    return type(expected) is type(got) and bool(expected == got)


def extra(expected: Any, got: Any, where: str = "") -> list[str]:
    """What the report says beyond what was compared, by name; rows of a list count once."""
    if isinstance(expected, Mapping) and isinstance(got, Mapping):
        names = []
        for key, value in got.items():
            place = f"{where}.{key}" if where else str(key)
            names += extra(expected[key], value, place) if key in expected else [place]
        return names
    if isinstance(expected, list) and isinstance(got, list) and expected and got:
        return extra(expected[0], got[0], f"{where}[]")
    return []
