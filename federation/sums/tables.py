"""What a noised sum says of a table, or of times until an event: post-processing of one release, in plain floats.

Each figure has an interval of 95 % that noise and chance make (`federation.sums.ratios`). A figure is None where
the noise hides what it is divided by.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from federation.plan.columns.dates import Date
from federation.plan.columns.features import MISSING, Feature, Numeric
from federation.plan.columns.scales import unscaled
from federation.plan.plan import Plan
from federation.plan.tallies.tasks import Curves, Statistics
from federation.round.cohort import parties_of, stand_ins
from federation.sums.lifetimes import lifetimes
from federation.sums.ratios import Estimate, Numbers, Z, inner, ratio

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def tables(
    plan: Plan, counts: Sequence[float], invited: int, survivors: int, left: int = 0
) -> dict[str, Any] | None:
    """What the sum over so many survivors says; None if the plan counts nothing, or no site is in the sum.

    `left`: of how many of them noise stayed in that the sum does not need.
    """
    task = plan.task
    if not isinstance(task, Statistics | Curves) or survivors == 0:
        return None
    deviation = deviation_of(plan, len(counts), invited, survivors, left)
    if isinstance(task, Curves):
        return {"deviation": deviation, "curves": lifetimes(task, counts, deviation)}
    columns, at = {}, 0
    for feature in task.features:
        end = at + len(feature.parts)
        columns[feature.name] = _column(feature, [float(one) for one in counts[at:end]], deviation**2)
        at = end
    return {"deviation": deviation, "columns": columns}


def deviation_of(plan: Plan, cells: int, invited: int, survivors: int, left: int) -> float:
    """Standard deviation of the noise on each cell: it follows from the plan and from how many sites there were."""
    parties = parties_of(plan, dict.fromkeys(stand_ins(invited), 1), cells)
    reduced = survivors - left if len(parties.lost) > 1 else 0
    return math.sqrt(plan.kind.sum_variance(parties, survivors, reduced))


def edges_of(feature: Feature) -> list[float] | None:
    """The ends of the bins of a number, in its own unit, or of a date as `date.toordinal` has it."""
    ranged = feature.range if isinstance(feature, Date) else feature
    if not isinstance(ranged, Numeric) or ranged.bins is None:
        return None
    found: list[float] = unscaled(np.linspace(-1.0, 1.0, ranged.bins + 1), ranged).tolist()
    return found


def _column(feature: Feature, counts: list[float], noise: float) -> dict[str, Any]:
    ones, edges = [1.0] * len(counts), edges_of(feature)
    told: dict[str, Any] = {
        "labels": [part.removeprefix("= ") for part in feature.parts],
        "counts": counts,
        "records": _sum(ones, counts, noise),
        "missing": None,
    }
    if feature.parts[-1] == MISSING:
        told["missing"] = _sum([0.0] * (len(counts) - 1) + [1.0], counts, noise)
    if edges is None:
        return told
    return {**told, "edges": edges, **_numbers(edges, counts, noise)}


def _sum(weights: Numbers, counts: Numbers, noise: float) -> dict[str, float]:
    """A count, whose interval is of the noise alone: the records themselves are what is counted."""
    value, half = inner(weights, counts), Z * math.sqrt(noise * inner(weights, weights))
    return {"value": max(0.0, value), "low": max(0.0, value - half), "high": max(0.0, value + half)}


def _numbers(edges: list[float], counts: list[float], noise: float) -> dict[str, Any]:
    """Mean, deviation and quantiles, as if the records of a bin were spread evenly over it."""
    pairs = list(pairwise(edges))
    rest = [0.0] * (len(counts) - len(pairs))
    middles = [(low + high) / 2 for low, high in pairs] + rest
    squares = [(low * low + low * high + high * high) / 3 for low, high in pairs] + rest
    there = [1.0] * len(pairs) + rest
    mean = ratio(middles, there, counts, noise, edges[0], edges[-1])
    second = ratio(squares, there, counts, noise, 0.0, math.inf)
    if mean is None or second is None:
        return {"mean": None, "deviation": None, "quantiles": {}}
    spread = _deviation(mean, second, edges[-1] - edges[0])
    hidden = max(high - low for low, high in pairs) / 2
    return {
        "mean": {**mean.told(counts, noise), "bins": hidden},
        "deviation": None if spread is None else spread.told(counts, noise),
        "quantiles": _quantiles(edges, there, counts, noise),
    }


def _deviation(mean: Estimate, second: Estimate, width: float) -> Estimate | None:
    variance = second.value - mean.value * mean.value
    if variance <= 0:
        return None
    root = math.sqrt(variance)
    slope = tuple(
        (two - 2 * mean.value * one) / (2 * root) for one, two in zip(mean.slope, second.slope, strict=True)
    )
    return Estimate(root, slope, 0.0, width)


def _quantiles(edges: list[float], there: Numbers, counts: Numbers, noise: float) -> dict[str, Any]:
    """Where the noised distribution, and the ends of its interval, first reach each share."""
    middle, lower, upper = [0.0], [0.0], [0.0]
    for place in range(1, len(edges) - 1):
        below = [float(one < place) for one in range(len(counts))]
        share = ratio(below, there, counts, noise)
        if share is None:  # no: the whole was not hidden
            return {}
        half = Z * share.deviation(counts, noise)
        for kept, value in ((middle, share.value), (lower, share.value - half), (upper, share.value + half)):
            kept.append(min(1.0, max(kept[-1], value)))
    for kept in (middle, lower, upper):
        kept.append(1.0)
    return {
        str(share): {
            "value": _reached(edges, middle, share),
            "low": _reached(edges, upper, share),
            "high": _reached(edges, lower, share),
        }
        for share in QUANTILES
    }


def _reached(edges: list[float], shares: list[float], share: float) -> float:
    """Where a rising line through (edge, share) comes to a share."""
    for (left, before), (right, after) in pairwise(zip(edges, shares, strict=True)):
        if after >= share:
            part = (share - before) / (after - before) if after > before else 1.0
            return left + (right - left) * min(1.0, max(0.0, part))
    return edges[-1]
