"""95 % intervals: what chance makes of a metric on so many records. Each record is taken to be independent.

    a share        Wilson's score interval (1927)
    a mean of      each by its own, joined by the method of variance estimates recovery (Zou and Donner 2008),
    classes        which for a difference of two shares is Newcombe's
    F1             2 s / (1 + s) of the share s = TP / (TP + FP + FN)
    AUC            the score interval of Newcombe (2006, method 5) over the variance of Hanley and McNeil (1982)
    a mean         the normal one, by the deviation of the records; none for a single record

They hold for one model and other records of the same kind. What noise and batches make of a model is not in them,
and where a person has several records they are too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from federation.sums.ratios import Z

_HALVINGS: Final = 60


class Estimate(NamedTuple):
    """A metric and its interval; None: no interval."""

    value: float
    low: float | None
    high: float | None


def of_share(hits: float, of: float) -> Estimate:
    """A share of so many, of which there is at least one."""
    share, z2 = hits / of, Z**2
    middle, wide = (hits + z2 / 2) / (of + z2), Z * math.sqrt(hits * (1 - share) / of**2 + z2 / (4 * of**2))
    wide *= of / (of + z2)
    return Estimate(share, min(share, max(0.0, middle - wide)), max(share, min(1.0, middle + wide)))


def of_f1(hits: int, others: int) -> Estimate:
    """2 TP / (2 TP + FP + FN), of which `others` are FP + FN, and not all are 0."""
    return Estimate(*(2 * one / (1 + one) for one in of_share(hits, hits + others) if one is not None))


def of_mean(values: NDArray[np.float64], least: float = -math.inf, most: float = math.inf) -> Estimate:
    """The mean of a number that every record has, on a range."""
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, None, None)
    wide = Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(mean, max(least, mean - wide), min(most, mean + wide))


def of_mean_of(parts: Sequence[Estimate]) -> Estimate:
    """The mean of independent estimates, each with an interval."""
    return _scaled(parts, 1 / len(parts), 0.0)


def of_difference(more: Estimate, less: Estimate) -> Estimate:
    """The difference of two shares."""
    turned = Estimate(
        1 - less.value,
        None if less.high is None else 1 - less.high,
        None if less.low is None else 1 - less.low,
    )
    return _scaled((more, turned), 1.0, -1.0)


def of_auc(auc: float, positives: int, negatives: int) -> Estimate:
    """An AUC of so many records of either class, of both of which there is at least one."""
    return Estimate(auc, 1 - _upper(1 - auc, negatives, positives), _upper(auc, positives, negatives))


def of_gini(auc: Estimate) -> Estimate:
    """2 AUC - 1."""
    return Estimate(*(None if one is None else 2 * one - 1 for one in auc))  # type: ignore[arg-type]


def _scaled(parts: Sequence[Estimate], scale: float, plus: float) -> Estimate:
    value = scale * math.fsum(one.value for one in parts) + plus
    if any(one.low is None or one.high is None for one in parts):
        return Estimate(value, None, None)
    below = scale * math.sqrt(sum((one.value - (one.low or 0.0)) ** 2 for one in parts))
    above = scale * math.sqrt(sum(((one.high or 0.0) - one.value) ** 2 for one in parts))
    return Estimate(value, max(plus, value - below), min(1.0, value + above))


def _upper(auc: float, positives: int, negatives: int) -> float:
    """The largest AUC from which the one that was seen is no further than z deviations."""
    low, high = auc, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle - auc > Z * math.sqrt(_variance(middle, positives, negatives)):
            high = middle
        else:
            low = middle
    return high


def _variance(auc: float, positives: int, negatives: int) -> float:
    more = (
        positives + negatives
    ) / 2 - 1  # Newcombe: the same for both classes, which is close and symmetric
    spread = 1 + more * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return auc * (1 - auc) * spread / (positives * negatives)
