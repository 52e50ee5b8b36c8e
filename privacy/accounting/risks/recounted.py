"""The auditor's risk: two risks between which the true one lies, figure by figure.

The upper ones follow from curves from above as `privacy.accounting.risks.figures` says. The lower ones are stated
here by themselves. Curves fall, so between two places a bound from below is the value at the later one; and a
convex function is not below a line whose slope on each part is that at the part's beginning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from privacy.accounting.bounds import Mechanism
from privacy.accounting.risks.enclosed import enclosed
from privacy.accounting.risks.figures import (
    FALSE_ALARMS,
    GUESSES,
    PRIORS,
    Curve,
    Pair,
    Posterior,
    Risk,
    believed,
    risk,
)


class RiskBounds(NamedTuple):
    """Each figure of the true risk lies between those of `lower` and `upper`."""

    lower: Risk
    upper: Risk


def recount_risk(mechanisms: Sequence[Mechanism], delta: float) -> RiskBounds:
    """Bounds on the risk of everything together."""
    return _recount(tuple(mechanisms), delta)


@lru_cache(maxsize=256)
def _recount(mechanisms: tuple[Mechanism, ...], delta: float) -> RiskBounds:
    below, above = enclosed(mechanisms, delta)
    return RiskBounds(_least_risk(below, delta), risk(above, delta))


def _least_risk(pair: Pair, delta: float) -> Risk:
    """What some attack can do, whatever the discretization: curves from below."""
    loss = max(_least_loss(of, delta) for of, _ in pair.ways)
    return Risk(
        advantage=max(float(of.deltas[0]) for of, _ in pair.ways),
        tpr_at_fpr={rate: _least_tpr(pair, rate) for rate in FALSE_ALARMS},
        posterior={
            prior: Posterior(max(_least_mean(*way, prior) for way in pair.ways), _held(believed(prior, loss)))
            for prior in PRIORS
        },
        reconstruction={chance: _least_tpr(pair, chance) for chance in GUESSES},
        delta=delta,
    )


def _next(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Each place with what is known of the curve up to the next; 0 beyond the last."""
    return curve.epsilons, np.append(curve.deltas[1:], 0.0)


def _least_tpr(pair: Pair, rate: float) -> float:
    found = []
    for of, other in pair.ways:
        (begins, deltas), (others, missed) = _next(of), _next(other)
        near = np.exp(begins) * rate + deltas
        far = 1 - np.exp(-others) * np.maximum(1 - rate - missed, 0)
        found.append(min(float(near.min()), float(far.min())))
    return _held(max(found))


def _least_loss(of: Curve, delta: float) -> float:
    begins, deltas = _next(of)
    known = deltas < delta
    return float(np.min(begins[known] - np.log1p(-deltas[known] / delta)))


def _least_mean(of: Curve, other: Curve, prior: float) -> float:
    lower, upper = np.exp(-other.epsilons[::-1]), np.exp(of.epsilons[1:])
    sticks = np.concatenate((1 - lower * (1 - other.deltas[::-1]), of.deltas[1:]))
    ratios = np.concatenate((lower, upper))
    first, rest = float(ratios[0]), 1 - prior
    slopes = 1 - (rest / (prior * ratios + rest)) ** 2
    tangent = prior * first**2 / (prior * first + rest) + slopes[0] * (
        1 - first
    )  # its mean: that of a ratio is 1
    return _held(float(tangent + np.maximum(np.diff(slopes), 0) @ sticks[1:]))


def _held(value: float) -> float:
    """Rounded down: by more than float64 loses."""
    return max(0.0, value * (1 - 1e-12)) if math.isfinite(value) else 0.0
