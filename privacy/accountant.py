"""Fold events into epsilon, by privacy loss distributions.

The reported number is an upper bound on epsilon at a given delta, for neighboring datasets that differ by adding
or removing one unit:

* Releases without sampling compose exactly: T Gaussian mechanisms with noise multipliers z_t are one with
  1 / mu, mu^2 = sum of 1 / z_t^2, whose delta is (Balle and Wang 2018; Dong, Roth and Su 2019, "mu-GDP")
      delta(epsilon) = Phi(-epsilon / mu + mu / 2) - e^epsilon Phi(-epsilon / mu - mu / 2).
* Poisson-sampled releases compose by their discretized privacy loss distributions (Koskela, Jalko, Honkela 2020;
  Doroshenko et al. 2022), computed by Google's dp-accounting. Its estimates are pessimistic: a coarser grid gives
  a larger epsilon, never a smaller one. The grid used here costs less than 1e-3 of epsilon.

Events are checked when they are built and delta is checked here, before the library sees either: it would answer
epsilon 0 to a noise multiplier of NaN. The library is imported when first needed, since that takes seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from privacy.errors import UnsafeParameters, UnsupportedEvent
from privacy.events import Event, GaussianEvent, NonPrivateEvent, is_number

MIN_DELTA = 1e-12  # below, the rounding errors of a Fourier transform in float64 show
VAST_EPSILON = 200.0  # nothing is protected here, so a quick and loose upper bound will do

# Whole orders only: the library drops fractional ones at large sample rates, where its series does not converge.
_RDP_ORDERS = (*range(2, 65), 96, 128, 256, 512, 1024, 2048, 4096)
_GRID_RANGE = (2.0**-17, 2.0**-10)

_Merged: TypeAlias = tuple[tuple[float, float, int], ...]  # (noise multiplier, sample rate, count), each once


def epsilon(events: Sequence[Event], delta: float) -> float:
    """An upper bound on epsilon of all `events` together; infinity if one of them is not private.

    UnsafeParameters unless MIN_DELTA <= delta < 1; UnsupportedEvent for what is no event.
    """
    check_delta(delta)
    merged = _merge(events)
    return math.inf if merged is None else _epsilon(merged, delta)


def cross_check(events: Sequence[Event], delta: float) -> dict[str, float]:
    """The same by another road: Renyi differential privacy (Mironov 2017), always somewhat looser."""
    check_delta(delta)
    merged = _merge(events)
    return {"rdp": math.inf if merged is None else _rdp_epsilon(merged, delta)}


def epsilon_by_round(event: GaussianEvent, rounds: int, delta: float) -> list[float]:
    """Epsilon after each of `rounds` rounds of `event` (count = steps per round), never falling."""
    check_delta(delta)
    z, rate, count = event.noise_multiplier, event.sample_rate, event.count
    whole = ((z, rate, count * rounds),)
    last = epsilon([GaussianEvent(z, rate, count * rounds)], delta)
    if rate == 1 or count * rounds == 0 or last > VAST_EPSILON:
        return [epsilon([GaussianEvent(z, rate, count * done)], delta) for done in range(1, rounds + 1)]
    # A coarser grid than that of `epsilon`: still a bound, and what is a bound at the end is one before it.
    one = composed = _distribution(((z, rate, count),), min(_GRID_RANGE[1], 4 * _grid(whole, delta)))
    curve = [float(one.get_epsilon_for_delta(delta))]
    for _ in range(rounds - 1):
        composed = composed.compose(one)
        curve.append(max(curve[-1], float(composed.get_epsilon_for_delta(delta))))
    return [min(bound, last) for bound in curve]


def check_delta(delta: float) -> None:
    """UnsafeParameters unless MIN_DELTA <= delta < 1."""
    if not (is_number(delta) and MIN_DELTA <= delta < 1):
        raise UnsafeParameters(f"delta must be at least {MIN_DELTA:g} and below 1")


def _merge(events: Sequence[Event]) -> _Merged | None:
    """Equal mechanisms counted together, in a fixed order; None if something was not private."""
    counts: Counter[tuple[float, float]] = Counter()
    for event in events:
        if isinstance(event, NonPrivateEvent):
            return None
        if not isinstance(event, GaussianEvent):
            raise UnsupportedEvent("an event that the accountant does not know")
        counts[event.noise_multiplier, event.sample_rate] += event.count
    return tuple((z, rate, count) for (z, rate), count in sorted(counts.items()) if count)


@lru_cache(maxsize=4096)
def _epsilon(merged: _Merged, delta: float) -> float:
    if not merged:
        return 0.0
    if all(rate == 1 for _, rate, _ in merged):
        return gaussian_epsilon(_mu(merged), delta)
    loose = _rdp_epsilon(merged, delta)
    if loose > VAST_EPSILON:
        return loose
    return float(_distribution(merged, _grid(merged, delta)).get_epsilon_for_delta(delta))


def _mu(merged: _Merged) -> float:
    return math.sqrt(sum(count / z**2 for z, rate, count in merged if rate == 1))


def _grid(merged: _Merged, delta: float) -> float:
    """The spacing of privacy losses: a pessimistic rounding costs about (steps * spacing^2) in epsilon."""
    steps = sum(count for _, _, count in merged)
    finest, coarsest = _GRID_RANGE
    wanted = min(coarsest, max(finest, 0.01 * _rdp_epsilon(merged, delta) / math.sqrt(steps)))
    return float(2.0 ** math.floor(math.log2(wanted)))


def _distribution(merged: _Merged, grid: float) -> Any:
    """The privacy loss distribution of everything, as dp-accounting's own object."""
    from dp_accounting.pld import privacy_loss_distribution as pld

    total = pld.identity(value_discretization_interval=grid)
    if mu := _mu(merged):
        total = total.compose(pld.from_gaussian_mechanism(1 / mu, value_discretization_interval=grid))
    for z, rate, count in merged:
        if rate < 1:
            step = pld.from_gaussian_mechanism(z, value_discretization_interval=grid, sampling_prob=rate)
            total = total.compose(step.self_compose(count))
    return total


@lru_cache(maxsize=4096)
def _rdp_epsilon(merged: _Merged, delta: float) -> float:
    import dp_accounting
    from dp_accounting import rdp

    accountant = rdp.RdpAccountant(_RDP_ORDERS)
    for z, rate, count in merged:
        sampled = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(z))
        accountant.compose(dp_accounting.SelfComposedDpEvent(sampled, count))
    return float(accountant.get_epsilon(delta))


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
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if gaussian_delta(mu, middle) > delta else (low, middle)
    return high


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
