"""Calibration: from a target epsilon to a noise multiplier.

Epsilon falls as noise grows, about like 1 / z, so a few secant steps find the least noise that is enough. Each asks
the accountant whose number is reported, so what is found keeps the target whatever the way to it. The answer is a
multiple of 1/1000 and follows from the plan alone: every party computes it for itself, so no party has to believe
another's number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TypeGuard

from privacy.accounting import pld as accountant
from privacy.accounting.events import GaussianEvent, is_number
from privacy.accounting.merged import merge
from privacy.accounting.rdp import rdp_epsilon
from privacy.accounting.remembered import keep, recalled
from privacy.errors import CalibrationFailed, UnsafeParameters

_PER_UNIT = 1000  # noise multipliers are whole numbers of thousandths
_LOWEST, _HIGHEST = 300, 100_000_000  # in thousandths
_SECANTS = 20  # after so many steps, bisection, which always ends
LOOKS = _SECANTS + math.ceil(math.log2(_HIGHEST)) + 2
"""How often a calibration asks the accountant at the most: a bound on work that is the same on every machine."""

_Cost = Callable[[int], float]  # epsilon by thousandths


@lru_cache(maxsize=256, typed=True)
def noise_multiplier(epsilon: float, delta: float, sample_rate: float, count: int) -> float:
    """The smallest z in thousandths for which `count` releases at `sample_rate` cost at most `epsilon`.

    At least 0.3. CalibrationFailed if even 1e5 is not enough, UnsafeParameters for arguments out of range.
    """
    accountant.check_delta(delta)
    if not (is_number(epsilon) and epsilon > 0):
        raise UnsafeParameters("epsilon must be a number above 0")

    def event(thousandths: int) -> GaussianEvent:
        return GaussianEvent(thousandths / _PER_UNIT, sample_rate, count)

    def cost(thousandths: int) -> float:
        return accountant.epsilon([event(thousandths)], delta)

    def loose(thousandths: int) -> float:
        return rdp_epsilon(merge([event(thousandths)]) or (), delta)

    question = ("noise", float(epsilon), float(delta), float(sample_rate), count)
    found = recalled(*question)
    if not _is_least(found, cost, epsilon):
        found = _searched(cost, loose, epsilon)
        keep(found, *question)
    return found / _PER_UNIT


def _is_least(told: object, cost: _Cost, epsilon: float) -> TypeGuard[int]:
    """Whether what was remembered is the least noise that is enough, by the accountant's own numbers."""
    if type(told) is not int or not _LOWEST <= told <= _HIGHEST or cost(told) > epsilon:
        return False
    return told == _LOWEST or cost(told - 1) > epsilon


def _searched(cost: _Cost, loose: _Cost, epsilon: float) -> int:
    if cost(_LOWEST) <= epsilon:
        return _LOWEST
    return _least(cost, epsilon, _bisected(loose, epsilon))


def _bisected(cost: _Cost, epsilon: float) -> int:
    """About where a quick and looser accountant would find enough noise: the best place to begin."""
    low, high = _LOWEST, _HIGHEST
    while high > 1.01 * low + 3:
        middle = math.isqrt(low * high)
        low, high = (low, middle) if cost(middle) <= epsilon else (middle, high)
    return high


def _least(cost: _Cost, epsilon: float, begin: int) -> int:
    """The least noise above `_LOWEST` that is enough, by secants of log epsilon over log noise.

    What is tried always lies between what is known to be too little and what is known to be enough.
    """
    low, high, slope = _LOWEST, _HIGHEST + 1, -1.0
    last, found = begin, cost(begin)
    for step in range(LOOKS):
        low, high = (low, last) if found <= epsilon else (last, high)
        if high - low <= 1:
            break
        aim = 0
        if step < _SECANTS and 0 < found < math.inf:
            log_aim = math.log(last) + math.log(epsilon / found) / slope
            aim = math.ceil(math.exp(min(log_aim, 2 * math.log(_HIGHEST))))
        if not low <= aim <= max(high, _HIGHEST):
            aim = math.isqrt(low * high)
        before, last = (last, found), min(max(aim, low + 1), high - 1)
        found = cost(last)
        if 0 < found < before[1] < math.inf or 0 < before[1] < found < math.inf:
            slope = min(max(math.log(found / before[1]) / math.log(last / before[0]), -50.0), -0.1)
    if high > _HIGHEST:
        raise CalibrationFailed(
            "no noise multiplier up to 100,000 reaches this epsilon",
            hint="allow a larger epsilon, or plan fewer rounds or a smaller sample_rate",
        )
    return high
