"""Releases without sampling compose exactly: T Gaussian mechanisms with noise multipliers z_t are one with 1 / mu.

mu^2 = sum of 1 / z_t^2, and delta is (Balle and Wang 2018; Dong, Roth and Su 2019, "mu-GDP")
    delta(epsilon) = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2).
"""

from __future__ import annotations

import math
from collections.abc import Callable


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Delta of the Gaussian mechanism with sensitivity / standard deviation = `mu`."""
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    # e^epsilon Phi(-far) = density(near) Mills(far): written so that neither factor overflows.
    return _upper_tail(near) - math.exp(-near * near / 2) / math.sqrt(2 * math.pi) * _mills_ratio(far)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon with gaussian_delta(mu, epsilon) <= delta, from above, to 1 in 10^12."""
    low, high = 0.0, mu * (mu / 2 + 40)  # at `high` even Phi(-40), that is 0, is all of delta
    if gaussian_delta(mu, low) <= delta:
        return 0.0
    return bisect(lambda middle: gaussian_delta(mu, middle) > delta, low, high, 1e-12)[1]


def bisect(is_below: Callable[[float], bool], low: float, high: float, width: float) -> tuple[float, float]:
    """An interval, relatively no wider than `width`, around where `is_below` turns from true to false."""
    while high - low > width * high:
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return low, high


def _upper_tail(x: float) -> float:
    return math.erfc(x / math.sqrt(2)) / 2


def _mills_ratio(x: float) -> float:
    """The normal's upper tail over its density, for x > 0: Laplace's continued fraction where erfc gets small."""
    if x < 5:
        return _upper_tail(x) * math.sqrt(2 * math.pi) * math.exp(x * x / 2)
    fraction = x
    for term in range(100, 0, -1):
        fraction = x + term / fraction
    return 1 / fraction
