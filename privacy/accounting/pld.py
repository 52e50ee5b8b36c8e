"""The accountant: folds events into epsilon, by privacy loss distributions.

The reported number is an upper bound on epsilon at a given delta. Neighboring datasets differ by adding or removing
one unit; `privacy.accounting.units` says what it costs to put one in place of another.

* Releases without sampling compose exactly: T Gaussian mechanisms with noise multipliers z_t are one with
  1 / mu, mu^2 = sum of 1 / z_t^2, whose delta is (Balle and Wang 2018; Dong, Roth and Su 2019, "mu-GDP")
      delta(epsilon) = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2).
* Poisson-sampled releases compose by their discretized privacy loss distributions (Koskela, Jalko, Honkela 2020;
  Doroshenko et al. 2022), computed by Google's dp-accounting. Its estimates are pessimistic: a coarser grid gives
  a larger epsilon, never a smaller one. The grid used here costs less than 1e-3 of epsilon.
* A unit with up to m contributions, each sampled by itself, makes a release a mixture of Gaussians (Ganesh 2024),
  whose loss is discretized in the same way, on a grid that costs some thousandths of epsilon; without sampling, z
  becomes z / m. That more than k are sampled at once is left out where the chance of it, t over all releases, is
  below delta / 10^4: (epsilon, delta) of the rest makes (epsilon - log(1 - t), delta + t) of the whole.

Events are checked when they are built and delta is checked here, before the library sees either: it would answer
epsilon 0 to a noise multiplier of NaN. The library is imported when first needed, since that takes seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from privacy.accounting.events import Event, GaussianEvent, NonPrivateEvent, is_number
from privacy.accounting.rdp import log_binomial, renyi
from privacy.errors import UnsafeParameters, UnsupportedEvent

_MIN_DELTA = 1e-10  # at a hundredth of it, the rounding errors of a Fourier transform in float64 show
_VAST_EPSILON = 200.0  # nothing is protected here, so a quick and loose upper bound will do

# Whole orders only: the library drops fractional ones at large sample rates, where its series does not converge.
_RDP_ORDERS = (*range(2, 65), 96, 128, 256, 512, 1024, 2048, 4096)
_GRID_RANGE = (2.0**-17, 2.0**-10)
_GROUP_GRID_RANGE = (2.0**-9, 2.0**-4)  # discretizing a mixture takes time in proportion to its fineness
_LEFT_OUT = 1e-4  # share of delta

_Key: TypeAlias = tuple[float, float, int]  # noise multiplier, sample rate, group
_Merged: TypeAlias = tuple[tuple[_Key, int], ...]  # with the number of releases, each key once


def epsilon(events: Sequence[Event], delta: float) -> float:
    """An upper bound on epsilon of all `events` together; infinity if one of them is not private.

    UnsafeParameters unless 1e-10 <= delta < 1; UnsupportedEvent for what is no event.
    """
    check_delta(delta)
    merged = _merge(events)
    return math.inf if merged is None else _epsilon(merged, delta)


def rdp_epsilon(events: Sequence[Event], delta: float) -> float:
    """The same by Renyi differential privacy (Mironov 2017): also an upper bound, always somewhat looser."""
    check_delta(delta)
    merged = _merge(events)
    return math.inf if merged is None else _rdp_epsilon(merged, delta)


def epsilon_by_round(event: GaussianEvent, rounds: int, delta: float) -> list[float]:
    """Epsilon after each of `rounds` rounds of `event` (count = steps per round), never falling."""
    check_delta(delta)
    whole = replace(event, count=event.count * rounds)
    last = epsilon([whole], delta)
    if event.sample_rate == 1 or whole.count == 0 or last > _VAST_EPSILON:
        return [epsilon([replace(event, count=event.count * done)], delta) for done in range(1, rounds + 1)]
    # The grid is coarser than in `epsilon`, which still gives bounds; the last bound holds for earlier rounds, too.
    merged, grid = _merge([event]) or (), _grid(_merge([whole]) or (), delta)
    one = composed = _distribution(merged, 4 * grid)
    curve = [float(one.get_epsilon_for_delta(delta))]
    for _ in range(rounds - 1):
        composed = composed.compose(one)
        curve.append(max(curve[-1], float(composed.get_epsilon_for_delta(delta))))
    return [min(bound, last) for bound in curve]


def check_delta(delta: float) -> None:
    """UnsafeParameters unless 1e-10 <= delta < 1."""
    if not (is_number(delta) and _MIN_DELTA <= delta < 1):
        raise UnsafeParameters(f"delta must be at least {_MIN_DELTA:g} and below 1")


def _merge(events: Sequence[Event]) -> _Merged | None:
    """Equal mechanisms counted together, in a fixed order; None if something was not private."""
    counts: Counter[_Key] = Counter()
    for event in events:
        if isinstance(event, NonPrivateEvent):
            return None
        if not isinstance(event, GaussianEvent):
            raise UnsupportedEvent("an event that the accountant does not know")
        z, rate, group = event.noise_multiplier, event.sample_rate, event.group
        counts[(z / group, rate, 1) if rate == 1 else (z, rate, group)] += event.count
    return tuple((key, count) for key, count in sorted(counts.items()) if count)


@lru_cache(maxsize=4096)
def _epsilon(merged: _Merged, delta: float) -> float:
    if not merged:
        return 0.0
    if all(rate == 1 for (_, rate, _), _ in merged):
        return gaussian_epsilon(_mu(merged), delta)
    if any(group > 1 for (_, _, group), _ in merged):
        return _grouped_epsilon(merged, delta)
    loose = _loose(merged, delta)
    if loose > _VAST_EPSILON:
        return loose
    return float(_distribution(merged, _grid(merged, delta)).get_epsilon_for_delta(delta))


def _grouped_epsilon(merged: _Merged, delta: float) -> float:
    """The same where a release may hold several contributions: by a coarse grid, then finer ones."""
    left_out, steps = _LEFT_OUT * delta, sum(count for _, count in merged)
    shorter = tuple((key, count) for key, count in merged if key[2] == 1)
    widest = max(_most(rate, group, left_out / steps) / z for (z, rate, group), _ in merged)
    if gaussian_epsilon(widest, delta) > _VAST_EPSILON or _loose(shorter, delta) > _VAST_EPSILON:
        return _loose(merged, delta)
    finest, grid = _GROUP_GRID_RANGE
    while True:
        total = _distribution(merged, grid, left_out / steps)
        found = float(total.get_epsilon_for_delta(delta - left_out)) - math.log1p(-left_out)
        wanted = min(math.sqrt(0.004 * found / steps), found / 16)
        rounding = steps * grid**2 / 4  # about
        if grid <= max(wanted, finest) or found - rounding > _VAST_EPSILON:
            return found if found > 1 else min(found, _loose(merged, delta))
        grid = max(finest, 2.0 ** math.floor(math.log2(min(wanted, grid / 2))))


def _loose(merged: _Merged, delta: float) -> float:
    """A quick upper bound: by RDP, or with the sampling left out."""
    if not merged:
        return 0.0
    unsampled = math.sqrt(math.fsum(count * (group / z) ** 2 for (z, _, group), count in merged))
    return min(_rdp_epsilon(merged, delta), gaussian_epsilon(unsampled, delta))


def _mu(merged: _Merged) -> float:
    return math.sqrt(math.fsum(count / z**2 for (z, rate, _), count in merged if rate == 1))


def _grid(merged: _Merged, delta: float) -> float:
    """The spacing of privacy losses: a pessimistic rounding costs about (steps * spacing^2) in epsilon."""
    steps = sum(count for _, count in merged)
    finest, coarsest = _GRID_RANGE
    wanted = min(coarsest, max(finest, 0.01 * _rdp_epsilon(merged, delta) / math.sqrt(steps)))
    return float(2.0 ** math.floor(math.log2(wanted)))


def _distribution(merged: _Merged, grid: float, left_out: float = 0.0) -> Any:
    """The privacy loss distribution of everything, as dp-accounting's own object."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    total = pld.identity(value_discretization_interval=grid)
    if mu := _mu(merged):
        total = total.compose(pld.from_gaussian_mechanism(1 / mu, value_discretization_interval=grid))
    for key, count in merged:
        if key[1] < 1:
            total = total.compose(_step(key, grid, left_out).self_compose(count))
    return total


@lru_cache(maxsize=64)
def _step(key: _Key, grid: float, left_out: float) -> Any:
    """The distribution of one sampled release, except for a chance of `left_out`."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    z, rate, group = key
    if group == 1:
        return pld.from_gaussian_mechanism(z, value_discretization_interval=grid, sampling_prob=rate)
    chances = np.exp(log_binomial(rate, group))[: _most(rate, group, left_out) + 1]
    shifts = np.arange(len(chances)) / z  # in units of the noise: the library's root finding needs that
    return pld.from_mixture_gaussian_mechanism(
        1.0, list(shifts), list(chances / chances.sum()), value_discretization_interval=grid
    )


def _most(rate: float, group: int, left_out: float) -> int:
    """How many of `group` contributions are sampled at once, except for a chance of `left_out`."""
    if group == 1 or rate == 1:
        return group
    # The chance of at least 1, 2, ..., group.
    above = np.cumsum(np.exp(log_binomial(rate, group))[:0:-1])[::-1]
    return int(np.count_nonzero(above > left_out))


@lru_cache(maxsize=4096)
def _rdp_epsilon(merged: _Merged, delta: float) -> float:
    """By dp-accounting's RDP; by our own where there are groups, which it does not know."""
    if any(group > 1 for (_, _, group), _ in merged):
        return _own_rdp_epsilon(merged, delta)
    import dp_accounting
    from dp_accounting import rdp

    accountant = rdp.RdpAccountant(_RDP_ORDERS)
    for (z, rate, _), count in merged:
        sampled = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(z))
        accountant.compose(dp_accounting.SelfComposedDpEvent(sampled, count))
    return float(accountant.get_epsilon(delta))


def _own_rdp_epsilon(merged: _Merged, delta: float) -> float:
    best = math.inf
    for order in _RDP_ORDERS:
        spent = math.fsum(count * _divergence(key, order) for key, count in merged)
        bound = spent + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)
        if bound >= best:
            break  # past the best order; a bound it is at any, and large orders of large groups take long
        best = bound
    return max(0.0, best)


def _divergence(key: _Key, order: int) -> float:
    z, rate, group = key
    return order / z**2 / 2 if rate == 1 else renyi(GaussianEvent(z, rate, 1, group), order)


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Delta of the Gaussian mechanism with sensitivity / standard deviation = `mu`."""
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    # e^epsilon Phi(-far) = density(near) Mills(far): written so that neither factor overflows.
    return _upper_tail(near) - math.exp(-near * near / 2) / math.sqrt(2 * math.pi) * _mills_ratio(far)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The smallest epsilon with gaussian_delta(mu, epsilon) <= delta, from above, to 1 in 10^12."""
    low, high = 0.0, mu * (mu / 2 + 40)  # at `high` even Phi(-40), that is 0, is all of delta
    if gaussian_delta(mu, low) <= delta:
        return 0.0
    return bisect(lambda middle: gaussian_delta(mu, middle) > delta, low, high, 1e-12)[1]


def bisect(is_below: Callable[[float], bool], low: float, high: float, width: float) -> tuple[float, float]:
    """An interval, relatively no wider than `width`, around where `is_below` turns from true to false."""
    while high - low > width * high:
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return low, high


def _upper_tail(x: float) -> float:
    return math.erfc(x / math.sqrt(2)) / 2


def _mills_ratio(x: float) -> float:
    """The normal's upper tail over its density, for x > 0: Laplace's continued fraction where erfc gets small."""
    if x < 5:
        return _upper_tail(x) * math.sqrt(2 * math.pi) * math.exp(x * x / 2)
    fraction = x
    for term in range(100, 0, -1):
        fraction = x + term / fraction
    return 1 / fraction
