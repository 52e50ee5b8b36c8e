"""Epsilon where one unit takes the place of another: a second way to what `privacy.accounting.units` charges.

Replacing a unit moves a sum by up to twice the clipping norm. Without sampling that halves every z. With sampling
it is bounded as a removal and an addition: (epsilon, d) for each makes (2 epsilon, (1 + e^epsilon) d) for both
(Vadhan 2017, lemma 2.2); or with the sampling left out, if that is less. Never use RDP of dp-accounting 0.6 for it:
it forgets the factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from privacy.accounting.events import Event
from privacy.accounting.pld import (
    _MIN_DELTA,
    _VAST_EPSILON,
    _distribution,
    _grid,
    _loose,
    _merge,
    bisect,
    check_delta,
    gaussian_epsilon,
)


def replacing(events: Sequence[Event], delta: float) -> float:
    """An upper bound on epsilon of all events together, for neighbors that differ by one unit replaced."""
    check_delta(delta)
    merged = _merge(events)
    if not merged:
        return math.inf if merged is None else 0.0
    squares = math.fsum(count * (group / z) ** 2 for (z, _, group), count in merged)
    unsampled = gaussian_epsilon(2 * math.sqrt(squares), delta)
    exact = all(rate == 1 for (_, rate, _), _ in merged)
    if exact or any(group > 1 for (_, _, group), _ in merged) or _loose(merged, delta) > _VAST_EPSILON:
        return unsampled
    total = _distribution(merged, _grid(merged, delta))

    def holds(half: float) -> bool:
        return (1 + math.exp(half)) * float(total.get_delta_for_epsilon(half)) <= delta

    # Beyond `high`, the delta of each half is one that a transform in float64 does not resolve.
    high = math.log(max(2.0, delta / _MIN_DELTA) - 1)
    if not holds(high):
        return unsampled
    _, high = bisect(lambda half: not holds(half), 0.0, high, 1e-4)
    return min(2 * high, unsampled)
