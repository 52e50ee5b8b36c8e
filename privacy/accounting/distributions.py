"""Privacy loss distributions of merged events, discretized and composed by Google's dp-accounting.

Each release is rounded to a grid of losses such that every hockey-stick divergence grows ("connect the dots",
Doroshenko et al. 2022), and dominance survives composition (Zhu, Dong, Wang 2022): whatever the grid, what comes
out is an upper bound. A coarser grid gives a larger epsilon, never a smaller one.

The library keeps one law for a unit removed and one for a unit added, and composes each with its own kind. A unit
*replaced* is one removal and one addition in each of its releases (`privacy.accounting.units`), so both of its laws
are the law of a removal convolved with that of an addition. The library has no name for that, and its two laws are
read from private fields: the version is pinned, and a test compares every composition with one made by hand.

Importing the library takes a second, so that waits until it is needed.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from privacy.accounting.merged import Mechanism, Merged, mu_of
from privacy.accounting.rdp import log_binomial

AT_ONCE = 2**17  # releases that the library composes in one go: beyond, its window gets much too wide
_DENSE = (
    1000  # the library would raise a number of losses to the power of so many, only to see that it is large
)
_REACH = 10.0  # standard deviations of noise beyond which the library sees nothing


def distribution(merged: Merged, grid: float, left_out: float = 0.0) -> Any:
    """The privacy loss distribution of everything, as dp-accounting's own object.

    `left_out`: the chance, in one release, of more contributions at once than are looked at.
    """
    from dp_accounting.pld import privacy_loss_distribution as pld

    total = pld.identity(value_discretization_interval=grid)
    if mu := mu_of(merged):
        total = total.compose(pld.from_gaussian_mechanism(1 / mu, value_discretization_interval=grid))
    for one, count in merged:
        if one.sample_rate < 1:
            total = total.compose(_times(_release(one, grid, left_out), count))
    return total


def width(one: Mechanism, left_out: float = 0.0) -> float:
    """From the least to the largest loss of one release, about: what a grid has to cover."""
    z, rate, group = one.noise_multiplier, one.sample_rate, one.group
    hits = np.arange(most(rate, group, left_out) + 1)
    chances = log_binomial(rate, group)[: len(hits)]
    ends = -_REACH * z, hits[-1] + _REACH * z
    low, high = (np.logaddexp.reduce(chances + hits * (2 * x - hits) / (2 * z * z)) for x in ends)
    return float(high - low)


def most(rate: float, group: int, left_out: float) -> int:
    """How many of `group` contributions are sampled at once, except for a chance of `left_out`."""
    if group == 1 or rate == 1:
        return group
    # The chance of at least 1, 2, ..., group.
    above = np.cumsum(np.exp(log_binomial(rate, group))[:0:-1])[::-1]
    return int(np.count_nonzero(above > left_out))


def _times(one: Any, count: int) -> Any:
    """Composed with itself; very often in two steps, which keeps the library's window near what it needs."""
    if count < _DENSE:
        return one.self_compose(count)
    one = _of_laws(*(law.to_dense_pmf() for law in laws_of(one)))
    if count <= AT_ONCE:
        return one.self_compose(count)
    root = math.isqrt(count)
    total, rest = one.self_compose(root).self_compose(count // root), count % root
    return total.compose(one.self_compose(rest)) if rest else total


@lru_cache(maxsize=16)
def _release(one: Mechanism, grid: float, left_out: float) -> Any:
    """The distribution of one sampled release, except for a chance of `left_out`."""
    from dp_accounting.pld import pld_pmf
    from dp_accounting.pld import privacy_loss_distribution as pld

    z, rate, group = one.noise_multiplier, one.sample_rate, one.group
    if group == 1:
        found = pld.from_gaussian_mechanism(z, value_discretization_interval=grid, sampling_prob=rate)
    else:
        chances = np.exp(log_binomial(rate, group))[: most(rate, group, left_out) + 1]
        shifts = np.arange(len(chances)) / z  # in units of the noise: the library's root finding needs that
        found = pld.from_mixture_gaussian_mechanism(
            1.0, list(shifts), list(chances / chances.sum()), value_discretization_interval=grid
        )
    return _of_laws(pld_pmf.compose_pmfs(*laws_of(found))) if one.replaced else found


def laws_of(found: Any) -> tuple[Any, ...]:
    """The law of a unit removed and that of a unit added; one law if both are the same."""
    return (found._pmf_remove,) if found._symmetric else (found._pmf_remove, found._pmf_add)


def _of_laws(*laws: Any) -> Any:
    from dp_accounting.pld import privacy_loss_distribution as pld

    return pld.PrivacyLossDistribution(*laws)
