"""Curves of hockey-stick divergences by the auditor's own laws: quickly from above, and from both sides.

`privacy.accounting.bounds` encloses one epsilon, and tilts its laws to that one. What an attacker gains lies all
over the curve, so the laws are composed at several tilts; each makes bounds at every e, and the best of them count.
Nothing here calls the accountant that spends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from privacy.accounting.above import rounded
from privacy.accounting.bounds import (
    ACCURACY,
    Mechanism,
    Parts,
    Setting,
    Sum,
    counted,
    parts_of,
    setting_of,
    unsampled,
    unsampled_delta,
)
from privacy.accounting.loss_distributions import Floats, Neighbor
from privacy.accounting.risks.figures import Curve, Pair

NODES: Final = 512
"""Places of a curve."""
_TARGETS = (0.2, 1e-3)  # deltas beside the one asked for, at which laws are composed
_FEWEST, _LOOKS = 2**9, 3  # of a sketch, which only says where to look
_BEYOND = 1e-4  # the curve ends where it is this share of delta
_LAST = 600.0  # and no further: exp of it is a float
_EXACT = 1e-9  # relative error of a closed form


class Enclosure(NamedTuple):
    """Bounds from below and from above at the same places."""

    below: Pair
    above: Pair


def above(mechanisms: Sequence[Mechanism], delta: float, accuracy: float = ACCURACY) -> Pair:
    """Upper bounds on the curves of everything together, as far as `delta` asks for."""
    mu, sampled = counted(mechanisms)
    if not sampled:
        return both(_closed(mu, delta, NODES, 1))

    def curve(neighbor: Neighbor) -> Curve:
        parts = parts_of(mu, sampled, neighbor, delta)
        sums, slacks = [], []
        for setting in _settings(parts, delta, accuracy, _FEWEST):
            laws = [(release.law_above(side, setting.step), count) for release, side, count in parts]
            sums.append(Sum.of(laws, setting))
            slacks.append(rounded(parts, setting))
        places = _places(sums[-1], delta, NODES)
        deltas = np.min([_deltas(each, places, +1) for each in sums], axis=0)
        return Curve(places + max(slacks), np.minimum(deltas, 1.0))

    return Pair(curve("removed"), curve("added"))


def enclosed(mechanisms: Sequence[Mechanism], delta: float, nodes: int = 8 * NODES) -> Enclosure:
    """Bounds on the curves from both sides."""
    mu, sampled = counted(mechanisms)
    if not sampled:
        low, high = (both(_closed(mu, delta, nodes, side)) for side in (-1, 1))
        return Enclosure(low, high)
    removed, added = (
        _enclosed(parts_of(mu, sampled, side, delta), delta, nodes) for side in ("removed", "added")
    )
    return Enclosure(Pair(removed[0], added[0]), Pair(removed[1], added[1]))


def both(curve: Curve) -> Pair:
    """Of a mechanism that looks the same from both sides."""
    return Pair(curve, curve)


def _closed(mu: float, delta: float, nodes: int, side: int) -> Curve:
    """Of the Gaussian mechanism. `side`: 1 for a bound from above, -1 for one from below."""
    if mu == 0:
        return Curve(np.zeros(1), np.zeros(1))
    places = np.linspace(0.0, min(unsampled(mu, _BEYOND * delta), _LAST), nodes)
    deltas = np.array([unsampled_delta(mu, float(place)) for place in places])
    return Curve(places, np.clip(deltas * (1 + side * _EXACT), 0.0, 1.0))


def _enclosed(parts: Parts, delta: float, nodes: int, accuracy: float = ACCURACY) -> tuple[Curve, Curve]:
    # Where a unit is added, its law is the one whose mass counts exp(epsilon).
    forgotten = sum(count * release.forgotten for release, neighbor, count in parts if neighbor == "added")
    sums = []
    for setting in _settings(parts, delta, accuracy, 2**12):
        laws = [(release.laws(side, setting.step, setting.tilt), count) for release, side, count in parts]
        sums.append([Sum.of([(pair[at], count) for pair, count in laws], setting) for at in (0, 1)])
    places = _places(sums[-1][1], delta, nodes)
    least = np.max([_deltas(below, places, -1) for below, _ in sums], axis=0) - forgotten * np.exp(places)
    most = np.min([_deltas(over, places, +1) for _, over in sums], axis=0)
    return Curve(places, np.maximum(least, 0.0)), Curve(places, np.minimum(most, 1.0))


def _settings(parts: Parts, delta: float, accuracy: float, fewest: int) -> list[Setting]:
    """How to compute for each part of the curve; the last one is for `delta` itself."""
    sketches = [(release.sketch(neighbor, fewest), count) for release, neighbor, count in parts]
    targets = [*(target for target in _TARGETS if target > delta), delta]
    return [setting_of(sketches, target, accuracy, _LOOKS) for target in targets]


def _places(total: Sum, delta: float, nodes: int) -> Floats:
    """Evenly from 0 to where hardly anything of `delta` is left."""
    last = min(total.start + total.setting.step * total.setting.points, _LAST)
    coarse = np.linspace(0.0, max(last, total.setting.step), nodes)
    few = np.flatnonzero(_deltas(total, coarse, +1) <= _BEYOND * delta)
    return np.linspace(0.0, coarse[few[0]] if len(few) else coarse[-1], nodes)


def _deltas(total: Sum, places: Floats, side: int) -> Floats:
    """`Sum.delta` at many places: what lies above a place is summed up once for all."""
    step = total.setting.step
    begin = min(max(0, math.ceil(-total.start / step)), len(total.mass))  # the first loss not below 0
    mass, first = total.mass[begin:], total.start + step * begin
    above = np.append(np.cumsum(mass[::-1])[::-1], 0.0)
    shrunk = np.append(np.cumsum((mass * np.exp(-step * np.arange(len(mass))))[::-1])[::-1], 0.0)
    at = np.clip(np.ceil((places - first) / step).astype(int), 0, len(mass))
    inside = above[at] - np.exp(places - first) * shrunk[at]
    lost = (len(mass) + 64) * 2.0**-52 * above[at]  # by summing up
    return np.asarray(inside + side * (total.wrongs(places) + lost) + total.infinite)
