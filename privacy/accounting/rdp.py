"""Renyi divergence of one release of a (sampled, grouped) Gaussian mechanism, at a whole order: for admission only.

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
* Where a table would get too large the sampling is left out, which never lowers a divergence.

The result is raised by a billionth, and for groups by 1e-14, more than all rounding here. Sums of densities are
taken as logarithms, so nothing overflows.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.events import GaussianEvent

_REACH = 14.0  # standard deviations beyond the outermost centers
_MAX_CELLS = 4_000_000  # of the table of densities
_RELATIVE, _ABSOLUTE = 1 + 1e-9, 1e-14
_SETTLED = 1e-12

_Floats = NDArray[np.float64]


@lru_cache(maxsize=4096)
def renyi(event: GaussianEvent, order: int) -> float:
    """The Renyi divergence, at a whole order of at least 2, of one of the event's releases: an upper bound."""
    z, q, group = event.noise_multiplier, event.sample_rate, event.group
    found = order * (group / z) ** 2 / 2  # leaving the sampling out can only raise it
    if q < 1 and group == 1:
        found = min(found, _of_one(z, q, order) / (order - 1))
    elif q < 1:
        found = min(found, _of_group(z, log_binomial(q, group), order) / (order - 1) + _ABSOLUTE)
    return found * _RELATIVE


def _of_one(z: float, q: float, order: int) -> float:
    """Logarithm of E_Q (P/Q)^order for a group of one."""
    k = np.arange(2, order + 1)
    growth = k * (k - 1) / (2 * z * z)
    log_growth = growth + np.log(-np.expm1(-growth))
    log_excess = float(np.logaddexp.reduce(log_binomial(q, order)[2:] + log_growth))
    return float(np.logaddexp(0.0, log_excess)) if log_excess > 0 else math.log1p(math.exp(log_excess))


def _of_group(z: float, log_chances: _Floats, order: int) -> float:
    """The larger log moment of the two directions, or infinity."""
    return max(_log_moment(z, log_chances, order, z / 4), _settled(z, log_chances, 1 - order), 0.0)


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
