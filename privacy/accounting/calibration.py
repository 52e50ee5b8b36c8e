"""Calibration: from a target epsilon to a noise multiplier.

Epsilon falls as noise grows, so bisection finds the least noise that is enough. The answer is a multiple of 1/1000
and follows from the plan alone: every party computes it for itself, so no party has to believe another's number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from privacy.accounting import pld as accountant
from privacy.accounting.events import GaussianEvent, is_number
from privacy.errors import CalibrationFailed, UnsafeParameters

_PER_UNIT = 1000  # noise multipliers are whole numbers of thousandths
_LOWEST, _HIGHEST = 300, 100_000_000  # in thousandths


@lru_cache(maxsize=256, typed=True)
def noise_multiplier(epsilon: float, delta: float, sample_rate: float, count: int) -> float:
    """The smallest z in thousandths for which `count` releases at `sample_rate` cost at most `epsilon`.

    At least 0.3. CalibrationFailed if even 1e5 is not enough, UnsafeParameters for arguments out of range.
    """
    accountant.check_delta(delta)
    if not (is_number(epsilon) and epsilon > 0):
        raise UnsafeParameters("epsilon must be a number above 0")

    def suffices(thousandths: int) -> bool:
        event = GaussianEvent(thousandths / _PER_UNIT, sample_rate, count)
        return accountant.epsilon([event], delta) <= epsilon

    if suffices(_LOWEST):
        return _LOWEST / _PER_UNIT
    low, high = _bracket(suffices)
    while high - low > 1:
        middle = math.isqrt(low * high)  # of ratios, then of differences; strictly between the two
        middle = max(middle, low + 1)
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high / _PER_UNIT


def _bracket(suffices: Callable[[int], bool]) -> tuple[int, int]:
    """Two noise multipliers, the first too small and the second enough."""
    low = _LOWEST
    while low < _HIGHEST:
        high = min(4 * low, _HIGHEST)
        if suffices(high):
            return low, high
        low = high
    raise CalibrationFailed(
        "no noise multiplier up to 100,000 reaches this epsilon",
        hint="allow a larger epsilon, or plan fewer rounds or a smaller sample_rate",
    )
