"""Quick proofs: an upper bound on epsilon by the auditor's own laws, in a few milliseconds and with no library.

`privacy.accounting.bounds` encloses epsilon from both sides. Where a bound from above is enough (does this noise
do? is a number that somebody remembered true?) half of that work is left out, and how finely to compute is the
caller's choice: what comes out is an upper bound at any `accuracy`, and no further than about so much from the
truth. Nothing here is what a ledger charges or a report says: those are of `privacy.accounting.pld`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from privacy.accounting.bounds import (
    ACCURACY,
    NEIGHBORS,
    Mechanism,
    Parts,
    Setting,
    Sum,
    counted,
    crossing,
    parts_of,
    setting_of,
    unsampled,
)
from privacy.accounting.loss_distributions import Neighbor

_FEWEST = 2**9  # points of a sketch, which only says where to look
_LOOKS = 3
_ROUNDING = 1e-13  # of a loss at a cut, relative: what a release may be further than its place on the grid
_STRETCH = 2.0  # of numbers of rounds that are looked at with one setting


def upper(
    mechanisms: Sequence[Mechanism],
    delta: float,
    accuracy: float = ACCURACY,
    sides: Sequence[Neighbor] = NEIGHBORS,
) -> float:
    """An upper bound on epsilon at `delta` of everything together, about `accuracy` above it (relative below 1).

    Of one of the `sides` alone it bounds half of the question, which is good for a search.
    """
    mu, sampled = counted(mechanisms)
    if not sampled:
        return unsampled(mu, delta) * (1 + 1e-9)
    return max(_upper(parts_of(mu, sampled, each, delta), delta, accuracy) for each in sides)


def curve(one: Mechanism, counts: Sequence[int], delta: float, accuracy: float = ACCURACY) -> list[float]:
    """The same for `one` so many times, for each of the rising `counts`."""
    found: list[float] = []
    for stretch in _stretches(counts):
        last = stretch[-1]
        mu, sampled = counted([Mechanism(*_of(one), last, one.group, one.replaced)])
        if not sampled:
            found += [unsampled(mu * math.sqrt(count / last), delta) * (1 + 1e-9) for count in stretch]
            continue
        each = [_curve(parts_of(mu, sampled, side, delta), stretch, delta, accuracy) for side in NEIGHBORS]
        found += map(max, zip(*each, strict=True))
    return found


def _of(one: Mechanism) -> tuple[float, float]:
    return one.noise_multiplier, one.sample_rate


def _stretches(counts: Sequence[int]) -> Iterator[list[int]]:
    """Numbers that are near each other."""
    stretch: list[int] = []
    for count in counts:
        if stretch and count > _STRETCH * stretch[0]:
            yield stretch
            stretch = []
        stretch.append(count)
    if stretch:
        yield stretch


def _upper(parts: Parts, delta: float, accuracy: float) -> float:
    setting = _setting(parts, delta, accuracy)
    laws = [(release.law_above(neighbor, setting.step), count) for release, neighbor, count in parts]
    return _least(Sum.of(laws, setting), delta) + rounded(parts, setting)


def _curve(parts: Parts, counts: Sequence[int], delta: float, accuracy: float) -> list[float]:
    """`parts` are those of the last of the counts; a number of releases in them is in proportion to the count."""
    last = counts[-1]
    setting = _setting(parts, delta, accuracy)
    laws = [(release.law_above(neighbor, setting.step), count // last) for release, neighbor, count in parts]
    slack = rounded(parts, setting)
    return [
        _least(Sum.of([(law, each * count) for law, each in laws], setting), delta) + slack
        for count in counts
    ]


def _setting(parts: Parts, delta: float, accuracy: float) -> Setting:
    sketches = [(release.sketch(neighbor, _FEWEST), count) for release, neighbor, count in parts]
    return setting_of(sketches, delta, accuracy, _LOOKS)


def rounded(parts: Parts, setting: Setting) -> float:
    """What cuts that lie beside their places on the grid may hide of epsilon."""
    reach = max(abs(setting.center) + setting.step * setting.points, 1.0)
    return _ROUNDING * reach * sum(count for _, _, count in parts)


def _least(total: Sum, delta: float) -> float:
    """An epsilon, hardly above the least, at which the sum's delta is not above `delta`: searched, then asked."""
    guess = _searched(total, delta)
    for nudge in (1e-9, 1e-7, 1e-5):
        epsilon = guess * (1 + nudge) + nudge * 1e-2
        if total.delta(epsilon, +1) <= delta:
            return epsilon
    guess = max(total.setting.center, total.setting.step)
    return crossing(lambda epsilon: total.delta(epsilon, +1) - delta, 0.0, guess)[1]


def _searched(total: Sum, delta: float) -> float:
    """About where the sum's delta is `delta`: sums over what lies above are taken once, for all places."""
    step, start, mass = total.setting.step, total.start, total.mass
    place = max(0, math.ceil(-start / step))  # the first loss that is not below 0
    mass = mass[place:]
    above = np.cumsum(mass[::-1])[::-1]
    losses = step * np.arange(len(mass))
    shrunk = np.cumsum((mass * np.exp(-losses))[::-1])[::-1]
    first = start + step * place

    def excess(epsilon: float) -> float:
        at = min(max(math.ceil((epsilon - first) / step), 0), len(mass) - 1)
        inside = float(above[at]) - math.exp(epsilon - first) * float(shrunk[at])
        return inside + total.wrong(epsilon) - delta

    high = min(first + step * (len(mass) - 1), 600.0 + first)
    if len(mass) == 0 or excess(high) > 0:
        return high
    return crossing(excess, 0.0, high)[1]
