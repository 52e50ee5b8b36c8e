"""Epsilon where one unit takes the place of another: a second way to what `privacy.accounting.units` charges.

Replacing a unit moves a sum by up to twice the clipping norm. Without sampling that halves every z. With sampling
it is bounded as a removal and an addition: (epsilon, d) for each makes (2 epsilon, (1 + e^epsilon) d) for both
(Vadhan 2017, lemma 2.2); or with the sampling left out, if that is less. Never use RDP of dp-accounting 0.6 for it:
it forgets the factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from privacy.accounting.distributions import distribution
from privacy.accounting.events import MIN_DELTA, Event
from privacy.accounting.merged import merge
from privacy.accounting.pld import _VAST_EPSILON, _grid, _loose, check_delta
from privacy.accounting.unsampled import bisect, gaussian_epsilon


def replacing(events: Sequence[Event], delta: float) -> float:
    """An upper bound on epsilon of all events together, for neighbors that differ by one unit replaced."""
    check_delta(delta)
    merged = merge(events)
    if not merged:
        return math.inf if merged is None else 0.0
    squares = math.fsum(count * one.unsampled_square for one, count in merged)
    unsampled = gaussian_epsilon(2 * math.sqrt(squares), delta)
    exact = all(one.sample_rate == 1 for one, _ in merged)
    if exact or any(one.group > 1 for one, _ in merged) or _loose(merged, delta).epsilon > _VAST_EPSILON:
        return unsampled
    total = distribution(merged, _grid(merged, delta)[0])

    def holds(half: float) -> bool:
        return (1 + math.exp(half)) * float(total.get_delta_for_epsilon(half)) <= delta

    # Beyond `high`, the delta of each half is one that a transform in float64 does not resolve.
    high = math.log(max(2.0, delta / MIN_DELTA) - 1)
    if not holds(high):
        return unsampled
    _, high = bisect(lambda half: not holds(half), 0.0, high, 1e-4)
    return min(2 * high, unsampled)
