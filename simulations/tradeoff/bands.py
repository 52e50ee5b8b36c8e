"""The mean of a figure over seeds, and a 95 % t interval around it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

LEVEL = 0.95
MEANING = (
    "the mean over the seeds, and a 95 % t interval around it. It covers the chance that differs from seed to "
    "seed: noise, batches, first params, and which records are held out where the plan holds some out. It does not "
    "cover other patients or other sites, since every run has the same records. With few seeds it is wide, and it "
    "takes the figures to be normally distributed."
)


def band(values: Iterable[float | None]) -> dict[str, Any]:
    """`mean`, `low`, `high`, `n` and the `values`; None where too few are known: one for a mean, two for a band.

    >>> found = band([1.0, 2.0, 3.0])
    >>> round(found["mean"], 3), round(found["low"], 3), round(found["high"], 3), found["n"]
    (2.0, -0.484, 4.484, 3)
    """
    kept = list(values)
    known = [value for value in kept if value is not None and math.isfinite(value)]
    mean = fmean(known) if known else None
    low = high = None
    if len(known) > 1 and mean is not None:
        half = float(stdtrit(len(known) - 1, 0.5 + LEVEL / 2)) * stdev(known) / math.sqrt(len(known))
        low, high = mean - half, mean + half
    return {"mean": mean, "low": low, "high": high, "n": len(known), "values": kept}


def differences(ours: Iterable[float | None], theirs: Iterable[float | None]) -> dict[str, Any]:
    """The band of ours less theirs, seed by seed: what both have of one seed (held-out records) cancels."""
    pairs = zip(ours, theirs, strict=True)
    return band(None if one is None or other is None else one - other for one, other in pairs)
