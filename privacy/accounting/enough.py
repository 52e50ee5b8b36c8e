"""Enough noise, quickly: a noise multiplier that is proved to do, and hardly more than that.

Where hundreds of plans are compared, a calibration of each (`privacy.accounting.calibration`) would take minutes.
This one takes some milliseconds, and what it finds is a bound from above: never less than the noise that a plan is
given in the end, and mostly less than a half percent more. It begins where a limit theorem says (Dong, Roth, Su
2019; Bu et al. 2020), which decides nothing: each answer is proved by `privacy.accounting.above`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from privacy.accounting.above import upper
from privacy.accounting.bounds import Mechanism
from privacy.accounting.calibration import noise_multiplier
from privacy.accounting.events import GaussianEvent
from privacy.accounting.loss_distributions import Neighbor
from privacy.accounting.pld import epsilon as exact_epsilon
from privacy.accounting.unsampled import bisect, gaussian_epsilon
from privacy.errors import CalibrationFailed

ACCURACY: Final = 2e-3
"""How far above the truth an epsilon may about be, relative below 1."""
_NEAR = 4e-3  # how far below the target is near enough
_PER_UNIT, _LOWEST, _HIGHEST = 1000, 300, 100_000_000
_STEPS = 40
_NONE = "no noise multiplier up to 100,000 reaches this epsilon"


class Enough(NamedTuple):
    """Noise, what it costs at the most, and whether both are what a plan would have; else they are bounds."""

    noise_multiplier: float
    epsilon: float
    is_exact: bool


@dataclass
class Search:
    """Finds noise for one plan after another. What it learned of one is where it begins with the next like it."""

    _known: list[tuple[tuple[float, float, float], float]] = field(default_factory=list, init=False)

    def enough(self, epsilon: float, delta: float, sample_rate: float, count: int) -> Enough:
        """Noise for `count` releases at `sample_rate` that cost at most `epsilon`.

        CalibrationFailed if no noise is enough, UnsafeParameters for arguments out of range.
        """
        if sample_rate == 1:  # no library is needed
            return exactly(epsilon, delta, sample_rate, count)
        guess = _by_limit(epsilon, delta, sample_rate, count)

        place = math.log(epsilon), math.log(sample_rate), math.log(count)

        @lru_cache
        def cost(thousandths: int, side: Neighbor) -> float:
            return upper([Mechanism(thousandths / _PER_UNIT, sample_rate, count)], delta, ACCURACY, (side,))

        at = _least(lambda tried: cost(tried, "removed"), epsilon, _whole(guess * self._like(place)))
        while (found := max(cost(at, "removed"), cost(at, "added"))) > epsilon:  # next to never
            if at == _HIGHEST:
                raise CalibrationFailed(_NONE)
            at = _whole(at / _PER_UNIT * (1 + _NEAR))
        self._known.append((place, at / _PER_UNIT / guess))
        return Enough(at / _PER_UNIT, found, False)

    def _like(self, place: tuple[float, float, float]) -> float:
        """How far from the limit theorem the noise of the plan most like this one was."""
        return min(self._known, key=lambda known: math.dist(known[0], place), default=(place, 1.0))[1]


def exactly(epsilon: float, delta: float, sample_rate: float, count: int) -> Enough:
    """The noise that a plan has, and what it costs."""
    z = noise_multiplier(epsilon, delta, sample_rate, count)
    return Enough(z, exact_epsilon([GaussianEvent(z, sample_rate, count)], delta), True)


def costs(z: float, delta: float, sample_rate: float, count: int) -> Enough:
    """What noise that is given costs at the most."""
    event = GaussianEvent(z, sample_rate, count)  # which refuses what is out of range
    return Enough(z, upper([Mechanism(z, event.sample_rate, count)], delta, ACCURACY), sample_rate == 1)


def _least(cost: Callable[[int], float], epsilon: float, begin: int) -> int:
    """About the least noise whose cost is within `epsilon`, by secants of log cost over log noise."""
    low, high, slope = _LOWEST - 1, _HIGHEST + 1, -1.2
    last, found = begin, cost(begin)
    for step in range(_STEPS):
        low, high = (low, last) if found <= epsilon else (last, high)
        if high - low <= 1 or epsilon * (1 - _NEAR) <= found <= epsilon:
            break
        aim = 0
        if step < _STEPS // 2 and 0 < found < math.inf:
            distance = (math.log(epsilon * (1 - _NEAR / 2)) - math.log(found)) / slope
            aim = math.ceil(last * math.exp(min(distance, 30.0)))
        before = last, found
        last = aim if low < aim < high else math.isqrt(max(low, 1) * min(high, 4 * low))
        found = cost(last)
        if 0 < found < math.inf and 0 < before[1] < math.inf and last != before[0]:
            slope = min(max(math.log(found / before[1]) / math.log(last / before[0]), -50.0), -0.3)
    if high > _HIGHEST:
        raise CalibrationFailed(_NONE)
    return high


def _by_limit(epsilon: float, delta: float, sample_rate: float, count: int) -> float:
    """About enough noise, if there were very many releases."""
    mu = _mu(epsilon, delta)
    return 1 / math.sqrt(math.log1p((mu / sample_rate) ** 2 / count))


@lru_cache(maxsize=1024)
def _mu(epsilon: float, delta: float) -> float:
    high = 1.0
    while gaussian_epsilon(high, delta) <= epsilon:
        high *= 2
    return bisect(lambda mu: gaussian_epsilon(mu, delta) <= epsilon, 0.0, high, 1e-4)[0]


def _whole(z: float) -> int:
    return min(max(math.ceil(z * _PER_UNIT), _LOWEST), _HIGHEST)
