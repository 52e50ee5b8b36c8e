"""The accountant: folds events into epsilon, by privacy loss distributions.

The reported number is an upper bound on epsilon at a given delta. Neighboring datasets differ by one unit, added or
removed, or replaced where an event says so; `privacy.accounting.units` says which parts of a whole do that.

* Releases without sampling compose exactly (`privacy.accounting.unsampled`).
* Poisson-sampled releases compose by their discretized privacy loss distributions (Koskela, Jalko, Honkela 2020;
  `privacy.accounting.distributions`). The grid used here costs less than 1e-3 of epsilon.
* A unit with up to m contributions, each sampled by itself, makes a release a mixture of Gaussians (Ganesh 2024),
  whose loss is discretized in the same way, on a grid that costs some thousandths of epsilon; without sampling, z
  becomes z / m. That more than k are sampled at once is left out where the chance of it, t over all releases, is
  below delta / 10^4: (epsilon, delta) of the rest makes (epsilon - log(1 - t), delta + t) of the whole. For a unit
  replaced, t is the chance over all removals, and again over all additions:
      P(S) <= P'(S) + t <= e^epsilon Q'(S) + delta + t <= e^epsilon / (1 - t) Q(S) + delta + t.

**Work is bounded before it starts.** Beyond `AT_ONCE` releases, or for one release of very many losses, the grid is
coarser where it would have too many points. Beyond some hundreds of epsilon, or where rounding errors could show,
there is no grid: Renyi divergences, or the sampling left out. All of
these are proven upper bounds, never limit theorems, and `accountant` says which one a number is. The rounding of
float64, in the discretization and in the transform of a composition, comes to less than 1e-15 of delta in each
release; that is taken off delta first, and where it would be half of it, the grid is not used.

Events are checked when they are built and delta is checked here, before the library sees either: it would answer
epsilon 0 to a noise multiplier of NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from privacy.accounting.distributions import AT_ONCE, distribution, most, width
from privacy.accounting.events import MIN_DELTA, Event, GaussianEvent, is_number
from privacy.accounting.merged import Merged, merge, mu_of, releases_of
from privacy.accounting.rdp import ORDERS
from privacy.accounting.rdp import rdp_epsilon as own_rdp_epsilon
from privacy.accounting.remembered import keep, proved_curve, proved_epsilon, proved_rdp, recalled
from privacy.accounting.unsampled import gaussian_epsilon
from privacy.errors import UnsafeParameters

_VAST_EPSILON = 200.0  # nothing is protected here, so a quick and loose upper bound will do
_GRID_RANGE = (2.0**-17, 2.0**-10)
_GROUP_GRID_RANGE = (2.0**-9, 2.0**-4)  # discretizing a mixture takes time in proportion to its fineness
_GROUP_POINTS = 2**12  # so a finer grid is for mixtures with as few points as that
_LEFT_OUT = 1e-4  # share of delta
_POINTS, _POINTS_OF_ONE = 2**20, 2**16  # of the grid, about: for very many releases, and for one
_ROUNDING = 1e-15  # what one release may add to delta by rounding
_EACH_ROUND = 1000  # so many rounds are listed one by one
_LISTED = 50  # of more rounds, about so many are

EXACT, COARSE = "pld", "pld (coarser grid, an upper bound)"
RENYI, UNSAMPLED = "rdp (upper bound)", "unsampled (upper bound)"


class Bound(NamedTuple):
    """An upper bound on epsilon, and how it was found."""

    epsilon: float
    by: str


class Spread(NamedTuple):
    """The distribution of the privacy loss, as the library's own object, and by how much more delta may be."""

    total: Any
    left_out: float
    rounding: float


def epsilon(events: Sequence[Event], delta: float) -> float:
    """An upper bound on epsilon of all `events` together; infinity if one of them is not private.

    UnsafeParameters unless 1e-10 <= delta < 1; UnsupportedEvent for what is no event.
    """
    check_delta(delta)
    merged = merge(events)
    return math.inf if merged is None else _bound(merged, delta).epsilon


def accountant(events: Sequence[Event], delta: float) -> str:
    """How `epsilon` bounds these events: "pld", or the name of a looser upper bound on what would take too long."""
    check_delta(delta)
    merged = merge(events)
    return EXACT if merged is None else _bound(merged, delta).by


def rdp_epsilon(events: Sequence[Event], delta: float) -> float:
    """The same by Renyi differential privacy (Mironov 2017): also an upper bound, always somewhat looser."""
    check_delta(delta)
    merged = merge(events)
    return math.inf if merged is None else _rdp_epsilon(merged, delta)


def epsilon_by_round(event: GaussianEvent, rounds: int, delta: float) -> dict[int, float]:
    """Epsilon after rounds of `event` (count = steps per round), by the number of the round; never falling.

    Every round up to a thousand of them. Of more, the first, the last and about fifty between, as evenly as can be:
    what holds after one of them holds of all rounds before it.
    """
    whole = replace(event, count=event.count * rounds)
    every = 1 if rounds <= _EACH_ROUND else -(-rounds // _LISTED)
    listed = list(dict.fromkeys((1, *range(every, rounds, every), rounds)))
    last, by = epsilon([whole], delta), accountant([whole], delta)
    if event.sample_rate == 1 or whole.count == 0 or by not in (EXACT, COARSE):
        parts = (merge([replace(event, count=event.count * done)]) or () for done in listed)
        quick = (_loose(part, delta).epsilon for part in parts)
        return {done: min(bound, last) for done, bound in zip(listed, quick, strict=True)}
    merged = merge([whole]) or ()
    question = ("curve", merged, every, listed[-1], delta)
    told = recalled(*question)
    curve = proved_curve(told, merged[0][0], listed, event.count, delta) if told is not None else None
    if curve is None:
        curve = _curve(event, listed, every, last, delta)
        keep(curve, *question)
    return {done: min(bound, last) for done, bound in zip(listed, curve, strict=True)}


def _curve(event: GaussianEvent, listed: Sequence[int], every: int, last: float, delta: float) -> list[float]:
    """By composing round by round; `last` is what holds at the end."""
    # The grid is coarser than in `epsilon`, which still gives bounds; the last bound holds for earlier rounds, too.
    merged = merge([replace(event, count=event.count * listed[-1])]) or ()
    grid, wanted = 4 * _grid(merged, delta)[0], delta - _rounding(merged)
    one = composed = distribution(merge([replace(event, count=event.count * every)]) or (), grid)
    curve: list[float] = []
    highest = 0.0
    for done in listed:
        if done % every:  # the first of many, or what is left over at the end
            curve.append(epsilon([event], delta) if done == 1 else last)
            continue
        composed = composed if done == every else composed.compose(one)
        highest = max(highest, float(composed.get_epsilon_for_delta(wanted)))
        curve.append(highest)
    return curve


def check_delta(delta: float) -> None:
    """UnsafeParameters unless 1e-10 <= delta < 1."""
    if not (is_number(delta) and MIN_DELTA <= delta < 1):
        raise UnsafeParameters(
            f"delta must be at least {MIN_DELTA:g} and below 1", hint="below, float64 has no digit left of it"
        )


@lru_cache(maxsize=4096)
def _bound(merged: Merged, delta: float) -> Bound:
    if not merged:
        return Bound(0.0, EXACT)
    if all(one.sample_rate == 1 for one, _ in merged):
        return Bound(gaussian_epsilon(mu_of(merged), delta), EXACT)
    told = recalled("epsilon", merged, delta)
    if told is not None and (known := proved_epsilon(told, merged, delta)) is not None:
        return Bound(known, EXACT if _has_groups(merged) else _grid(merged, delta)[1])
    found = _by_grid(merged, delta)
    if found.by == EXACT or (found.by == COARSE and not _has_groups(merged)):
        keep(found.epsilon, "epsilon", merged, delta)
    return found


def _has_groups(merged: Merged) -> bool:
    return any(one.group > 1 for one, _ in merged)


def _by_grid(merged: Merged, delta: float) -> Bound:
    """By the library, or by something looser where that would take too long."""
    if _has_groups(merged):
        return _of_groups(merged, delta)
    loose = _loose(merged, delta)
    if loose.epsilon > _VAST_EPSILON:
        return loose
    grid, by = _grid(merged, delta)
    rounding = _rounding(merged)
    if rounding > delta / 2:
        return loose
    found = Bound(float(distribution(merged, grid).get_epsilon_for_delta(delta - rounding)), by)
    return found if by == EXACT and rounding < delta / 20 else min(found, loose)


def _rounding(merged: Merged) -> float:
    """What rounding may hide of delta. Raised to a power, a transform's rounding errors grow with it: at 73,490
    releases and a delta of 1e-10 they hid a seventh of it.
    """
    return _ROUNDING * releases_of(merged)


def spread(merged: Merged, delta: float) -> Spread | None:
    """The distribution that `epsilon` is of, for whoever asks more than epsilon; None where there is no grid."""
    spent, rounding = _bound(merged, delta), _rounding(merged)
    if spent.by not in (EXACT, COARSE) or rounding > delta / 2:
        return None
    if not _has_groups(merged):
        return Spread(distribution(merged, _grid(merged, delta)[0]), 0.0, rounding)
    left_out, steps = _LEFT_OUT * delta, releases_of(merged)
    finest, coarsest = _group_grids(merged, left_out / steps)
    wanted = _power(min(_wanted(spent.epsilon, steps), coarsest))
    return Spread(distribution(merged, max(finest, wanted), left_out / steps), left_out, rounding)


def _wanted(found: float, steps: int) -> float:
    """How fine a grid of mixtures should be where epsilon is about this."""
    return min(math.sqrt(0.004 * found / steps), found / 16)


def _group_grids(merged: Merged, left_out: float) -> tuple[float, float]:
    """The finest and the coarsest grid for mixtures."""
    finest, coarsest = _GROUP_GRID_RANGE
    widest = max(width(one, left_out) for one, _ in merged if one.sample_rate < 1)
    return min(finest, _power(widest / _GROUP_POINTS)), coarsest


def _of_groups(merged: Merged, delta: float) -> Bound:
    """The same where a release may hold several contributions: by a coarse grid, then finer ones."""
    left_out, steps = _LEFT_OUT * delta, releases_of(merged)
    rounding = _rounding(merged)
    sampled = [one for one, _ in merged if one.sample_rate < 1]
    shorter = tuple((one, count) for one, count in merged if one.group == 1)
    widest = max(
        one.releases * most(one.sample_rate, one.group, left_out / steps) / one.noise_multiplier
        for one in sampled
    )
    vast = gaussian_epsilon(widest, delta) > _VAST_EPSILON or _loose(shorter, delta).epsilon > _VAST_EPSILON
    if vast or rounding > delta / 2:
        return _loose(merged, delta)
    finest, grid = _group_grids(merged, left_out / steps)
    while True:
        total = distribution(merged, grid, left_out / steps)
        found = float(total.get_epsilon_for_delta(delta - left_out - rounding)) - math.log1p(-left_out)
        wanted = _wanted(found, steps)
        widened = steps * grid**2 / 4  # about
        if grid <= max(wanted, finest) or found - widened > _VAST_EPSILON:
            bound = Bound(found, EXACT if grid <= wanted else COARSE)
            is_fine = found > 1 and bound.by == EXACT and rounding < delta / 20
            return bound if is_fine else min(bound, _loose(merged, delta))
        grid = max(finest, _power(min(wanted, grid / 2)))


def _loose(merged: Merged, delta: float) -> Bound:
    """A quick upper bound: by RDP, or with the sampling left out."""
    if not merged:
        return Bound(0.0, EXACT)
    mu = math.sqrt(math.fsum(count * one.unsampled_square for one, count in merged))
    return min(Bound(own_rdp_epsilon(merged, delta), RENYI), Bound(gaussian_epsilon(mu, delta), UNSAMPLED))


def _grid(merged: Merged, delta: float) -> tuple[float, str]:
    """The spacing of privacy losses, and what to call it: a rounding costs about (steps * spacing^2) in epsilon."""
    steps, loose = releases_of(merged), own_rdp_epsilon(merged, delta)
    finest, coarsest = _GRID_RANGE
    fine = _power(min(coarsest, max(finest, 0.01 * loose / math.sqrt(steps))))
    least = max(width(one) for one, _ in merged if one.sample_rate < 1) / _POINTS_OF_ONE
    if steps > AT_ONCE:
        least = max(2 * least, 16 * loose / _POINTS)
    return (fine, EXACT) if fine >= least else (2 * _power(least), COARSE)


def _power(value: float) -> float:
    """The power of two at or below a value."""
    return float(2.0 ** math.floor(math.log2(value)))


@lru_cache(maxsize=4096)
def _rdp_epsilon(merged: Merged, delta: float) -> float:
    """By dp-accounting's RDP; by our own where there are groups or a unit is replaced, which it does not know."""
    if any(one.group > 1 or one.replaced for one, _ in merged):
        return own_rdp_epsilon(merged, delta)
    told = recalled("rdp", merged, delta)
    if told is not None and (known := proved_rdp(told, own_rdp_epsilon(merged, delta))) is not None:
        return known
    found = _by_library(merged, delta)
    keep(found, "rdp", merged, delta)
    return found


def _by_library(merged: Merged, delta: float) -> float:
    import dp_accounting
    from dp_accounting import rdp

    accountant = rdp.RdpAccountant(ORDERS)
    for one, count in merged:
        gaussian = dp_accounting.GaussianDpEvent(one.noise_multiplier)
        sampled = dp_accounting.PoissonSampledDpEvent(one.sample_rate, gaussian)
        accountant.compose(dp_accounting.SelfComposedDpEvent(sampled, count))
    return float(accountant.get_epsilon(delta))
