"""Renyi divergence of one release of a (sampled, grouped) Gaussian mechanism, at a whole order.

Filters weigh events by it, and it gives an upper bound on epsilon that takes no longer for more releases.

Neighboring datasets: without the unit a release is Q = N(0, z^2), with it P = E N(B, z^2), B ~ Binomial(group, q),
in units of the sensitivity (Mironov, Talwar, Zhang 2019; for groups Ganesh 2024). What is needed is the larger of

    D(P || Q) = log E_Q [ (P/Q)^a ] / (a - 1)     and     D(Q || P) = log E_Q [ (Q/P)^(a - 1) ] / (a - 1).

* Without sampling both are a group^2 / (2 z^2).
* For a group of one the first is never the smaller (shown there), and is a finite sum of positive terms:
      E_Q [ (P/Q)^a ] - 1 = sum over k = 2..a of  binom(a, k) (1 - q)^(a - k) q^k (exp(k (k - 1) / (2 z^2)) - 1).
* For groups the first integrand is a sum of Gaussian densities with standard deviation z, centered between 0 and
  a times the group. The trapezoidal rule with spacing z / 4 integrates each of them to a relative 2 exp(-32 pi^2),
  by Poisson summation; what lies outside the reach is below a relative e^-98. Both are nothing beside rounding.
* The second integrand of a group is no such sum, but P/Q is log-convex, so the integrand has one mode, between
  (1 - a) times the group and 0, and falls off beyond both ends like a density with standard deviation z, or faster.
  It is analytic in a strip around the real line, so the rule's error falls like exp(-c / spacing): to halve the
  spacing squares it. It is halved until the result moves by less than 1e-12, so what is left is far below that.
* A unit replaced is one removed and one added, each on half of the noise (`privacy.accounting.units`), and
  divergences of what composes add up: D(P || Q) + D(Q || P), rather than twice the larger of the two.
* Where a table would get too large the sampling is left out, which never lowers a divergence.

The result is raised by a billionth, and for groups by 1e-14, more than all rounding here. Sums of densities are
taken as logarithms, so nothing overflows.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.events import Event
from privacy.accounting.merged import Mechanism, Merged, mechanism_of

# Whole orders only: dp-accounting drops fractional ones at large sample rates, where its series does not converge.
ORDERS = (*range(2, 65), 96, 128, 256, 512, 1024, 2048, 4096)
_REACH = 14.0  # standard deviations beyond the outermost centers
_MAX_CELLS = 4_000_000  # of the table of densities
_RELATIVE, _ABSOLUTE = 1 + 1e-9, 1e-14
_SETTLED = 1e-12

_Floats = NDArray[np.float64]


def renyi(event: Event, order: int) -> float:
    """The Renyi divergence, at a whole order of at least 2, of one of the event's releases: an upper bound."""
    return divergence(mechanism_of(event), order)


@lru_cache(maxsize=8192)
def divergence(one: Mechanism, order: int) -> float:
    """The same of a mechanism."""
    if one.sample_rate == 1:
        found = order * one.unsampled_square / 2
    elif one.replaced:
        found = _removed(one, order) + _added(one, order)
    elif one.group == 1:
        found = _removed(one, order)
    else:
        found = max(_removed(one, order), _added(one, order))
    return found * _RELATIVE


def _removed(one: Mechanism, order: int) -> float:
    """D(P || Q); leaving the sampling out can only raise it."""
    z, q, group = one.noise_multiplier, one.sample_rate, one.group
    unsampled = order * (group / z) ** 2 / 2
    if group == 1:
        return min(unsampled, _of_one(z, q, order) / (order - 1))
    moment = max(_log_moment(z, log_binomial(q, group), order, z / 4), 0.0)
    return min(unsampled, moment / (order - 1) + _ABSOLUTE)


def _added(one: Mechanism, order: int) -> float:
    """D(Q || P), which for a group of one is never the larger."""
    z, q, group = one.noise_multiplier, one.sample_rate, one.group
    unsampled = order * (group / z) ** 2 / 2
    moment = max(_settled(z, log_binomial(q, group), 1 - order), 0.0)
    found = min(unsampled, moment / (order - 1) + _ABSOLUTE)
    return min(found, _removed(one, order)) if group == 1 else found


def rdp_epsilon(merged: Merged, delta: float) -> float:
    """An upper bound on epsilon by Renyi differential privacy (Mironov 2017; Canonne, Kamath, Steinke 2020)."""
    best = math.inf
    for order in ORDERS:
        spent = math.fsum(count * divergence(one, order) for one, count in merged)
        bound = spent + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        if bound >= best:
            break  # past the best order; a bound it is at any, and large orders of large groups take long
        best = bound
    return max(0.0, best)


def _of_one(z: float, q: float, order: int) -> float:
    """Logarithm of E_Q (P/Q)^order for a group of one."""
    k = np.arange(2, order + 1)
    growth = k * (k - 1) / (2 * z * z)
    log_growth = growth + np.log(-np.expm1(-growth))
    log_excess = float(np.logaddexp.reduce(log_binomial(q, order)[2:] + log_growth))
    return float(np.logaddexp(0.0, log_excess)) if log_excess > 0 else math.log1p(math.exp(log_excess))


def _settled(z: float, log_chances: _Floats, power: int) -> float:
    """The log moment, with the spacing halved until nothing changes; infinity if the table would be too large."""
    spacing, before = z / 4, math.inf
    while (found := _log_moment(z, log_chances, power, spacing)) < math.inf:
        if abs(found - before) <= _SETTLED * max(1.0, abs(found)):
            break
        spacing, before = spacing / 2, found
    return found


def _log_moment(z: float, log_chances: _Floats, power: int, spacing: float) -> float:
    """Logarithm of E_Q (P/Q)^power by the trapezoidal rule; infinity if the table would be too large."""
    furthest = power * (len(log_chances) - 1)
    low, high = min(0.0, furthest) - _REACH * z, max(0.0, furthest) + _REACH * z
    if (high - low) / spacing * len(log_chances) > _MAX_CELLS:
        return math.inf
    x = np.arange(low, high, spacing)
    hits = np.arange(len(log_chances))[:, None]
    ratio = _log_sum(log_chances[:, None] + hits * (2 * x - hits) / (2 * z * z))
    density = -((x / z) ** 2) / 2 - math.log(z * math.sqrt(2 * math.pi))
    return float(_log_sum(density + power * ratio)) + math.log(spacing)


def _log_sum(logs: _Floats) -> _Floats:
    """The logarithm of the sum of exponentials along the first axis."""
    top = logs.max(axis=0)
    total: _Floats = top + np.log(np.exp(logs - top).sum(axis=0))
    return total


def log_binomial(q: float, group: int) -> _Floats:
    """Logarithms of the Binomial(group, q) probabilities, 0 < q < 1."""
    hits = np.arange(group + 1)
    log_factorials = np.array([math.lgamma(count + 1) for count in hits])
    chances = hits * math.log(q) + (group - hits) * math.log1p(-q)
    chances += log_factorials[-1] - log_factorials - log_factorials[::-1]
    return chances - _log_sum(chances)
