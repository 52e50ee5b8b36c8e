"""Writes numbers as people read them, on pages and on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

MISSING = "n/a"
UNBOUNDED = "no promise"


def figure(value: float | None, why: str = "") -> str:
    """A metric to three places; n/a for None, with the reason if there is one.

    >>> figure(0.5), figure(None), figure(None, "diverged")
    ('0.500', 'n/a', 'n/a (diverged)')
    >>> figure(-0.0001)
    '0.000'
    """
    if value is not None:
        return f"{value:z.3f}"
    return f"{MISSING} ({why})" if why else MISSING


def spread(half: float | None) -> str:
    """How far a figure may be off, behind it; "" where nobody knows, or where nothing differed.

    >>> spread(0.1), spread(0.0001), spread(0.0), spread(None)
    (' ± 0.100', ' ± less than 0.001', '', '')
    """
    if not half:
        return ""
    return f" ± {half:.3f}" if half >= 0.0005 else " ± less than 0.001"


def short(value: float | None, missing: str = MISSING) -> str:
    """A number to four digits; `missing` for None and for what is not finite."""
    return missing if value is None or not math.isfinite(value) else f"{value:.4g}"


def upward(value: float | None, places: int = 2) -> str:
    """A number rounded up: nothing that people read may claim more privacy than there is.

    >>> upward(2.991), upward(2.99), upward(2.9900001), upward(None)
    ('3.00', '2.99', '3.00', 'no promise')
    """
    return _rounded(value, places, ROUND_CEILING)


def downward(value: float | None, places: int = 2) -> str:
    """A number rounded down, for what is at least so large."""
    return _rounded(value, places, ROUND_FLOOR)


def spent(value: float | None) -> str:
    """An epsilon as a terminal shows it: to three places, rounded up.

    >>> spent(2.9971), spent(3.0), spent(None)
    ('2.998', '3.000', 'no promise')
    """
    return upward(value, 3)


def _rounded(value: float | None, places: int, way: str) -> str:
    if value is None or not math.isfinite(value):
        return UNBOUNDED
    return f"{Decimal(repr(float(value))).quantize(Decimal(10) ** -places, way):f}"


def tiny(delta: float) -> str:
    """A delta as people write it: 1e-5, not 1e-05."""
    return f"{delta:g}".replace("e-0", "e-")


def octets(value: int | None) -> str:
    """A number of bytes in the unit that reads best: 999 B, 1.2 kB, 3.4 MB; n/a for None."""
    if value is None:
        return MISSING
    if value < 1000:
        return f"{value} B"
    power = min(3, int(math.log10(value) // 3))
    return f"{value / 1000**power:.1f} {('kB', 'MB', 'GB')[power - 1]}"


def count(value: float | None) -> str:
    """A number with a thin space between thousands; n/a for None."""
    return MISSING if value is None else f"{value:,.0f}".replace(",", "\u2009")


def held_out(figures: Mapping[str, float | None]) -> str:
    """How many records some figures are about; "" where nobody counted.

    >>> held_out({"auc": 0.9, "n": 142, "positives": 53}), held_out({"n": 142, "positives": None}), held_out({})
    ('142 records, 53 of them positive', '142 records', '')
    """
    records, positives = figures.get("n"), figures.get("positives")
    if records is None:
        return ""
    return f"{count(records)} records" + (
        "" if positives is None else f", {count(positives)} of them positive"
    )


_NAMES = {"auc": "AUC", "f1": "F1", "mae": "MAE", "rmse": "RMSE", "r2": "R²", "c_index": "C-index"}


def plain(name: str) -> str:
    """A field's or metric's name as words."""
    return _NAMES.get(name, name.replace("_", " "))


def moment(finished: str) -> str:
    """A time of report.json as people read it; what is none, as it is.

    >>> moment("2026-03-01T17:05:09Z")
    '1 March 2026, 17:05 UTC'
    """
    try:
        at = datetime.strptime(finished, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return finished
    return f"{at.day} {at:%B %Y, %H:%M} UTC"
