"""Kaplan-Meier curves and the log-rank test, from noised counts of interval x (event, censored) x group.

A record's state says how many intervals it came through, and whether the event was in the next. Who was lost within
an interval counts half of it, as in a life table: where the ends are all times that occur, nobody is, and the curve
is Kaplan and Meier's. At-risk numbers are sums of cells, so noise adds up in them; intervals and the variance of
the test hold that noise (to first order, as Greenwood's formula holds chance).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import chdtrc

from federation.plan.tallies.tasks import Curves
from federation.sums.ratios import LEAST, Numbers, Z, inner


@dataclass(frozen=True)
class _Group:
    """The states of one group, and for each interval the weights by which they make events and people at risk."""

    counts: tuple[float, ...]
    noise: float

    @property
    def intervals(self) -> int:
        """How many there are."""
        return len(self.counts) // 2

    def ended(self, place: int) -> list[float]:
        """Weights of the events in an interval."""
        return [float(state == 2 * place + 1) for state in range(len(self.counts))]

    def at_risk(self, place: int) -> list[float]:
        """Weights of those at risk in an interval: half of those who were lost within it."""
        return [0.5 if state == 2 * place else float(state > 2 * place) for state in range(len(self.counts))]

    def of(self, weights: Numbers) -> float:
        """A sum of cells."""
        return inner(weights, self.counts)

    def is_seen(self, weights: Numbers) -> bool:
        """Whether a sum of cells is clearly above its noise."""
        return self.of(weights) > LEAST * math.sqrt(self.noise * inner(weights, weights))


def lifetimes(task: Curves, counts: Sequence[float], deviation: float) -> dict[str, Any]:
    """The curve of each group, and the test between them where there are two or more; None where noise hides it."""
    noise, states = deviation * deviation, task.states
    cut = [tuple(map(float, counts[at : at + states])) for at in range(0, len(counts), states)]
    groups = {name: _Group(one, noise) for name, one in zip(task.groups, cut, strict=True)}
    told = {name.removeprefix("= "): _curve(group) for name, group in groups.items()}
    seen = [group for group in groups.values() if group.is_seen(group.at_risk(0))]
    return {
        "ends": list(task.bins),
        "groups": told,
        "log_rank": _log_rank(seen) if len(seen) > 1 else None,
    }


def _curve(group: _Group) -> dict[str, Any]:
    """At the end of each interval the share without the event, as far as the noise lets it be known."""
    logarithm, slope = 0.0, [0.0] * len(group.counts)
    points: list[dict[str, float] | None] = []
    for place in range(group.intervals):
        ended, risk = group.ended(place), group.at_risk(place)
        d, n = group.of(ended), group.of(risk)
        if not group.is_seen(risk) or d >= n or None in points:
            points.append(None)
            continue
        logarithm += math.log1p(-d / n)
        slope = [
            one - (first * n - d * second) / (n * (n - d))
            for one, first, second in zip(slope, ended, risk, strict=True)
        ]
        chance = (
            s * s * (group.noise + max(count, 0.0)) for s, count in zip(slope, group.counts, strict=True)
        )
        points.append(_point(logarithm, math.sqrt(math.fsum(chance))))
    risks = [group.of(group.at_risk(place)) for place in range(group.intervals)]
    events = [group.of(group.ended(place)) for place in range(group.intervals)]
    return {"at_risk": risks, "events": events, "survival": points}


def _point(logarithm: float, deviation: float) -> dict[str, float]:
    """A share and its interval, made on the scale log(-log) that keeps it between 0 and 1, where there is one."""
    value = min(1.0, math.exp(logarithm))
    if logarithm >= 0:
        return {"value": value, "low": max(0.0, 1.0 - Z * deviation), "high": 1.0}
    # Far out on that scale the share is 0 or 1 anyway.
    turn = math.exp(min(50.0, Z * deviation / -logarithm))
    return {"value": value, "low": math.exp(logarithm * turn), "high": math.exp(logarithm / turn)}


def _log_rank(groups: Sequence[_Group]) -> dict[str, float] | None:
    """Observed less expected events of all groups but the last, over their variance by chance and by noise."""
    free, states = len(groups) - 1, len(groups[0].counts)
    apart, chance = np.zeros(free), np.zeros((free, free))
    slopes = np.zeros((free, len(groups) * states))
    noise, used = groups[0].noise, 0
    for place in range(groups[0].intervals):
        ended, risk = np.array(groups[0].ended(place)), np.array(groups[0].at_risk(place))
        events = np.array([group.of(ended.tolist()) for group in groups])
        people = np.array([group.of(risk.tolist()) for group in groups])
        d, n = float(events.sum()), float(people.sum())
        if n <= max(1.0, LEAST * math.sqrt(noise * len(groups) * float(risk @ risk))):
            break
        used += 1
        apart += (events - d * people / n)[:free]
        shares = np.maximum(people, 0.0) / np.maximum(people, 0.0).sum()
        few = min(max(d, 0.0), n)
        chance += few * (n - few) / (n - 1) * (np.diag(shares) - np.outer(shares, shares))[:free, :free]
        for own in range(free):
            for group in range(len(groups)):
                is_own = float(own == group)
                cells = is_own * (ended - d / n * risk) - people[own] / n * (ended - d / n * risk)
                slopes[own, group * states : (group + 1) * states] += cells
    variance = chance + noise * slopes @ slopes.T
    if not used or not np.all(np.linalg.eigvalsh(variance) > 0):
        return None
    statistic = float(apart @ np.linalg.solve(variance, apart))
    return {
        "statistic": statistic,
        "degrees": float(free),
        "p": float(chdtrc(free, statistic)),
        "noise": float(noise * np.trace(slopes @ slopes.T) / np.trace(variance)),
    }
