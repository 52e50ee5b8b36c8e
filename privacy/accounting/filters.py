"""Privacy filters: which plans a budget admits, even if each is chosen after seeing what the last one released.

Epsilon by privacy loss distributions is right for a plan that is fixed before it starts. It does not say whether to
admit the next plan, because that plan's numbers may depend on earlier results. A *filter* does: it gives each plan
a weight, weights add up, and a plan is admitted while the sum stays within a capacity that was fixed beforehand.

* RDP at one frozen order a (Feldman and Zrnic 2021; Lecuyer 2021): while the divergences of order a
  add up to at most B, everything released, however it was chosen, is (a, B)-RDP, thus (epsilon, delta)-private for
      B = epsilon - log(1 - 1/a) + (log delta + log a) / (a - 1)
  (Canonne, Kamath, Steinke 2020, proposition 12). At a fixed order this holds for plans that run side by side, too
  (Haney et al. 2023). The order must not follow from results, so it is fixed before there are any: it follows
  from a pool's first budget and the training that its people foresee, and stays. Where they name none, the first
  plan is that training if it samples; else `USUAL` is, since statistics often come first and training follows.
* GDP where nothing will ever be sampled (Smith and Thakurta 2022; Koskela et al. 2023): the sum of 1/z^2 may reach
  mu^2, where mu-GDP has exactly this epsilon and delta. Nothing is lost by it, but a sampled plan under GDP counts
  as if it were not sampled. So it is taken only where a site foresees no sampling.

One exception makes the common case exact: the very first plan is admitted by its epsilon alone, even where the
filter's capacity is a little too small for it. Either the filter holds it, and then guarantees all that follows; or
it does not, and then nothing else is ever admitted, so the plan's own epsilon is the whole cost. The plan alone
decides which of the two. In the second case the plan must not be returned in part: that would shorten it
afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from privacy.accounting.events import (
    NOISE_MULTIPLIER_RANGE,
    Event,
    GaussianEvent,
    NoisedEvent,
    NonPrivateEvent,
    is_number,
)
from privacy.accounting.merged import mechanism_of
from privacy.accounting.pld import check_delta, epsilon
from privacy.accounting.rdp import renyi
from privacy.accounting.unsampled import bisect, gaussian_epsilon
from privacy.errors import BudgetExceeded, UnsafeParameters, UnsupportedEvent

_MAX_ORDER = 4096
_ORDERS: tuple[int, ...] = (
    *range(2, 33),
    *(round(32 * 1.08**step) for step in range(1, 64)),
)  # up to _MAX_ORDER
_LEAST_NOISE, _MOST_NOISE = NOISE_MULTIPLIER_RANGE


@dataclass(frozen=True)
class Budget:
    """A bound on everything that is ever released about one population: `epsilon` at `delta`.

    An infinite epsilon sets no bound; only such a budget admits a release without noise.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if self.epsilon != float("inf") and not (is_number(self.epsilon) and self.epsilon > 0):
            raise UnsafeParameters("a budget's epsilon must be above 0")
        check_delta(self.delta)


@dataclass(frozen=True)
class Foreseen:
    """The training that a pool's budget is meant for: `steps` steps, each on records drawn at `sample_rate`.

    A rate of 1 says that nothing will ever be sampled. It decides what is weighed, never what is allowed.
    """

    sample_rate: float
    steps: int

    def __post_init__(self) -> None:
        GaussianEvent(1.0, self.sample_rate, self.steps)  # which refuses what is out of range
        if self.steps < 1:
            raise UnsafeParameters("a foreseen training must have at least one step")

    def at(self, noise_multiplier: float) -> GaussianEvent:
        """This training with so much noise."""
        return GaussianEvent(noise_multiplier, self.sample_rate, self.steps)


USUAL = Foreseen(0.1, 200)
UNSAMPLED = Foreseen(1.0, 1)


@dataclass(frozen=True)
class Filter:
    """How plans are weighed: by RDP at `order`, or by GDP if `order` is None."""

    order: int | None

    def __post_init__(self) -> None:
        if self.order is not None and not (type(self.order) is int and 2 <= self.order <= _MAX_ORDER):
            raise UnsafeParameters(f"a filter's order must be a whole number from 2 to {_MAX_ORDER}")

    @classmethod
    def frozen(cls, budget: Budget, first: Event, foreseen: Foreseen | None = None) -> Filter:
        """The filter of a pool: by the training that its people foresee, or by its first plan if that samples.

        Both are known before anything is released. GDP only where they foresee that nothing is sampled.
        """
        if foreseen is None and isinstance(first, NoisedEvent) and first.sample_rate == 1:
            foreseen = USUAL
        if foreseen is None:
            return cls(_best_order(budget, first))
        return cls(None if foreseen.sample_rate == 1 else _order_for(budget, foreseen))

    def load(self, events: Sequence[Event], budget: Budget, more: float = 0.0) -> float:
        """The share of the budget that `events` use, 1 for all of it; infinity if they cannot be weighed.

        `more` is a weight on top of theirs.
        """
        if math.isinf(budget.epsilon):
            return 0.0
        used, capacity = math.fsum([more, *map(self._weight, events)]), self.capacity(budget)
        if used == 0:
            return 0.0
        return used / capacity if capacity > 0 else math.inf

    def capacity(self, budget: Budget) -> float:
        """What weights may add up to. Not above 0 if this filter can admit nothing."""
        if self.order is None:
            return _largest_mu(budget) ** 2
        return budget.epsilon + _offset(self.order, budget.delta)

    def least(self, events: Sequence[Event], delta: float) -> float:
        """The least epsilon at `delta` of a budget that holds `events`; infinity if none does.

        It says which limit, set before the first of them, would have admitted them all, however each was chosen. It
        is not what a run may be stopped at: a limit that follows from results is none.
        """
        used = math.fsum(self._weight(event) for event in events)
        if used == 0 or math.isinf(used):
            return used
        if self.order is None:
            return gaussian_epsilon(math.sqrt(used), delta)
        return max(0.0, used - _offset(self.order, delta))

    def to_json(self) -> dict[str, str | int]:
        """Plain data."""
        return {"type": "gdp"} if self.order is None else {"type": "rdp", "order": self.order}

    def _weight(self, event: Event) -> float:
        if isinstance(event, NonPrivateEvent):
            return math.inf
        if self.order is None:
            return event.count * mechanism_of(event).unsampled_square
        return event.count * renyi(event, self.order) if event.count else 0.0


def _offset(order: int, delta: float) -> float:
    """B - epsilon of the conversion above: negative, the price of delta at this order."""
    return (math.log(delta) + math.log(order)) / (order - 1) - math.log1p(-1 / order)


def room_for(
    foreseen: Foreseen, spent: Sequence[Event], budget: Budget, rule: Filter, more: float = 0.0
) -> float:
    """The epsilon of the largest such training that `rule` admits on top of `spent`; 0 if it admits none.

    `more` is a weight on top of theirs. The exact epsilon of everything is within the budget then, too.
    """
    if math.isinf(budget.epsilon):
        return math.inf

    def holds(noise_multiplier: float) -> bool:
        return rule.load([*spent, foreseen.at(noise_multiplier)], budget, more) <= 1

    if not holds(_MOST_NOISE):
        return 0.0
    return epsilon([foreseen.at(_least_noise(holds))], budget.delta)


@dataclass(frozen=True)
class Admission:
    """`epsilon` of everything together, as reported; `by`: what admitted the last of it."""

    epsilon: float
    by: Literal["filter", "plan"]


def admit(spent: Sequence[Event], asked: Event, budget: Budget, rule: Filter) -> Admission:
    """Admit `asked`, a whole plan fixed before it starts, on top of `spent`; BudgetExceeded if that is too much."""
    after = epsilon([*spent, asked], budget.delta)
    if math.isinf(budget.epsilon):
        return Admission(after, "filter")
    if after <= budget.epsilon:
        if rule.load([*spent, asked], budget) <= 1:
            return Admission(after, "filter")
        if not any(_is_charged(event) for event in spent):
            return Admission(after, "plan")
    raise _refusal(spent, asked, budget, after)


def _is_charged(event: Event) -> bool:
    """Whether an event stands for any release at all."""
    return not isinstance(event, NoisedEvent) or event.count > 0


def filter_from_json(data: Mapping[str, object]) -> Filter:
    """The filter that `to_json` wrote. UnsupportedEvent for anything else, UnsafeParameters out of range."""
    match dict(data):
        case {"type": "gdp", **rest} if not rest:
            return Filter(None)
        case {"type": "rdp", "order": int() as order, **rest} if not rest:
            return Filter(order)
    raise UnsupportedEvent("a filter that this version does not know", hint="install a newer one")


def _refusal(spent: Sequence[Event], asked: Event, budget: Budget, after: float) -> BudgetExceeded:
    before, alone = epsilon(spent, budget.delta), epsilon([asked], budget.delta)
    story = (
        f"the budget is epsilon {budget.epsilon:.4g} at delta {budget.delta:g}: "
        f"{before:.4g} is spent, this plan asks for {alone:.4g}, together {after:.4g}"
    )
    if after <= budget.epsilon:
        story += ", which leaves no room for plans that were chosen after seeing results"
    return BudgetExceeded(story, hint="plan a smaller epsilon, or have the site's budget raised")


@lru_cache(maxsize=256)
def _best_order(budget: Budget, first: Event) -> int:
    """The order at which the budget holds `first` the most often."""
    budget = _bounded(budget)
    if isinstance(first, NonPrivateEvent):
        return _highest(budget)
    return max(
        _orders(budget), key=lambda order: Filter(order).capacity(budget) / max(renyi(first, order), 1e-300)
    )


@lru_cache(maxsize=256)
def _order_for(budget: Budget, foreseen: Foreseen) -> int:
    """The order at which the budget holds this training with the least noise."""
    budget = _bounded(budget)
    orders = _orders(budget)

    def load(noise_multiplier: float, order: int) -> float:
        return Filter(order).load([foreseen.at(noise_multiplier)], budget)

    least = _least_noise(lambda noise: min(load(noise, order) for order in orders) <= 1)
    return min(orders, key=lambda order: load(least, order))


def _bounded(budget: Budget) -> Budget:
    """An infinite budget gets the order of epsilon 1, so that a limit set later finds room."""
    return Budget(1.0, budget.delta) if math.isinf(budget.epsilon) else budget


def _highest(budget: Budget) -> int:
    """The best order without sampling."""
    return max(_ORDERS, key=lambda order: Filter(order).capacity(budget) / order)


def _orders(budget: Budget) -> list[int]:
    """The orders to choose from: sampling makes divergences rise steeply above some order, so that a filter of a
    too high one may hold nothing at all.
    """
    highest = _highest(budget)
    return [order for order in _ORDERS if order <= highest]


def _least_noise(holds: Callable[[float], bool]) -> float:
    """The least noise multiplier for which this holds, from above, to a thousandth; `_MOST_NOISE` if none does."""
    low, high = _LEAST_NOISE, _MOST_NOISE
    while high / low > 1.001 and not holds(low):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return low if holds(low) else high


@lru_cache(maxsize=256)
def _largest_mu(budget: Budget) -> float:
    """The largest mu, from below, for which mu-GDP is within the budget."""
    low, high = 0.0, 1.0
    while gaussian_epsilon(high, budget.delta) <= budget.epsilon:
        low, high = high, 2 * high
    return bisect(lambda mu: gaussian_epsilon(mu, budget.delta) <= budget.epsilon, low, high, 1e-13)[0]
