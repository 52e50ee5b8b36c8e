"""What an attacker can do at the most, from hockey-stick divergences alone.

Two neighbors, with a unit and without it, make two distributions P and Q of all that is released. Let d(e) be an
upper bound on the largest P(S) - exp(e) Q(S) (a unit "removed"), and d'(e) one with P and Q exchanged ("added").
Everything here follows from some of these numbers, e >= 0, so a bound on each of them makes a bound of each figure:

* **Advantage**: the largest P(S) - Q(S), which is d(0). No attack has a higher TPR - FPR.
* **TPR at an FPR a**: every attack that accuses S has TPR = P(S) <= exp(e) Q(S) + d(e), and of those who are not
  accused 1 - Q(S) <= exp(e) (1 - P(S)) + d'(e) (Wasserman and Zhou 2010; Dong, Roth, Su 2019). The least of these
  lines at a. The same with both exchanged, for whoever looks for those who are *not* in the data: the worse counts.
* **Reconstruction**: whoever guesses what a record holds from a prior, and without the release is right (or near
  enough) with chance k at the most, is right with it with chance TPR(k) at the most (Balle, Cherubin, Hayes 2022;
  Hayes, Mahloujifar, Balle 2023; Kulynych et al. 2024): "the guess is right" is an S, and TPR is concave.
* **Posterior**, of somebody whose belief that the unit is in the data was `prior` before. Its odds grow by dP/dQ.
  - `quantile`: if the unit is in, a larger posterior has a chance of at most `delta`. Let S be where the odds grow
    by more than exp(l), and P(S) > delta: then delta < P(S) (1 - exp(e - l)) / (1 - exp(e - l)) <= d(e) / (1 -
    exp(e - l)), for e < l. So l = e - log(1 - d(e) / delta) will do, with any e. It is the least that holds for all
    pairs with these divergences: an attacker who accuses S and finds a share delta of those who are in is right
    with this posterior. Of a Gaussian alone, the quantile of its own loss is a little smaller.
  - `mean`: over all that may be released if the unit is in. It is the mean under Q of the convex
    h(r) = prior r^2 / (prior r + 1 - prior), r = dP/dQ, below which no chord of h lies; and a broken line is a sum
    of hockey sticks.

Every discretization and every node that is left out makes a figure larger, never smaller.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FALSE_ALARMS: Final = (0.01, 0.001)
"""Rates of false alarms at which the rate of hits is told."""
PRIORS: Final = (0.5, 0.01)
"""What somebody may believe beforehand."""
GUESSES: Final = (0.1, 0.01, 1e-6)
"""Chances to guess what a record holds without what was released."""
_UP = 1 + 1e-12  # what float64 loses in these sums is less

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Bounds d(e) on a hockey-stick divergence at rising e >= 0; what lies between is not known."""

    epsilons: Floats
    deltas: Floats

    @classmethod
    def of(cls, *points: tuple[float, float]) -> Curve:
        """Through single points, at rising e."""
        return cls(np.array([e for e, _ in points]), np.array([d for _, d in points]))

    def joined(self, epsilon: float, delta: float) -> Curve:
        """With one more point that is known to hold."""
        place = int(np.searchsorted(self.epsilons, epsilon))
        return Curve(np.insert(self.epsilons, place, epsilon), np.insert(self.deltas, place, delta))


@dataclass(frozen=True)
class Pair:
    """Two neighbors: with a unit against without it, and the other way around."""

    removed: Curve
    added: Curve

    @property
    def ways(self) -> tuple[tuple[Curve, Curve], tuple[Curve, Curve]]:
        """Both ways to look at it: what is looked for first."""
        return (self.removed, self.added), (self.added, self.removed)


@dataclass(frozen=True)
class Posterior:
    """What a belief becomes: in the mean, and at the most except with chance `delta` of the risk."""

    mean: float
    quantile: float


@dataclass(frozen=True)
class Risk:
    """The most that anybody can do who sees everything that was released, and knows all other units."""

    advantage: float
    tpr_at_fpr: Mapping[float, float]
    posterior: Mapping[float, Posterior]
    reconstruction: Mapping[float, float]
    delta: float

    @property
    def values(self) -> tuple[float, ...]:
        """All figures in one fixed order: larger ones are worse."""
        beliefs = (value for each in self.posterior.values() for value in (each.mean, each.quantile))
        return (self.advantage, *self.tpr_at_fpr.values(), *beliefs, *self.reconstruction.values())

    @property
    def names(self) -> tuple[str, ...]:
        """What the `values` are called in plain data."""
        return (
            "advantage",
            *(f"tpr_at_fpr.{_key(rate)}" for rate in self.tpr_at_fpr),
            *(
                f"posterior.from.{_key(prior)}.{what}"
                for prior in self.posterior
                for what in ("mean", "quantile")
            ),
            *(f"reconstruction.{_key(chance)}" for chance in self.reconstruction),
        )

    def widened(self, share: float) -> Risk:
        """A little larger: the odds of each figure by this share."""

        def wider(value: float) -> float:
            return _chance(value * (1 + share) / (1 + share * value))

        return Risk(
            wider(self.advantage),
            {rate: wider(found) for rate, found in self.tpr_at_fpr.items()},
            {
                prior: Posterior(wider(found.mean), wider(found.quantile))
                for prior, found in self.posterior.items()
            },
            {chance: wider(found) for chance, found in self.reconstruction.items()},
            self.delta,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        beliefs = {
            _key(prior): {"mean": found.mean, "quantile": found.quantile}
            for prior, found in self.posterior.items()
        }
        return {
            "advantage": self.advantage,
            "tpr_at_fpr": {_key(rate): found for rate, found in self.tpr_at_fpr.items()},
            "posterior": {"delta": self.delta, "from": beliefs},
            "reconstruction": {_key(chance): found for chance, found in self.reconstruction.items()},
        }


def risk_from(told: object, delta: float) -> Risk | None:
    """A risk from the plain data of `Risk.to_json`; None for anything else."""
    try:
        beliefs, tprs, guesses = told["posterior"]["from"], told["tpr_at_fpr"], told["reconstruction"]  # type: ignore[index]
        found = Risk(
            advantage=told["advantage"],  # type: ignore[index]
            tpr_at_fpr={rate: tprs[_key(rate)] for rate in FALSE_ALARMS},
            posterior={
                prior: Posterior(beliefs[_key(prior)]["mean"], beliefs[_key(prior)]["quantile"])
                for prior in PRIORS
            },
            reconstruction={chance: guesses[_key(chance)] for chance in GUESSES},
            delta=told["posterior"]["delta"],  # type: ignore[index]
        )
    except (TypeError, KeyError, IndexError):
        return None
    sound = all(type(value) is float and 0 <= value <= 1 for value in found.values)
    return found if sound and found.delta == delta and found.to_json() == told else None


def _key(number: float) -> str:
    """A name in JSON, never with an exponent.

    >>> _key(0.01), _key(1e-6)
    ('0.01', '0.000001')
    """
    return f"{number:.9f}".rstrip("0")


def risk(pair: Pair, delta: float) -> Risk:
    """Everything that these curves bound; the posterior at `delta`."""
    return Risk(
        advantage=advantage(pair),
        tpr_at_fpr={rate: tpr(pair, rate) for rate in FALSE_ALARMS},
        posterior={
            prior: Posterior(mean_posterior(pair, prior), believed(prior, most_loss(pair, delta)))
            for prior in PRIORS
        },
        reconstruction={chance: tpr(pair, chance) for chance in GUESSES},
        delta=delta,
    )


def advantage(pair: Pair) -> float:
    """The most that TPR - FPR of any attack can be. What holds of one way holds of the other."""
    return min(_advantage(of, other) for of, other in pair.ways)


def _advantage(of: Curve, other: Curve) -> float:
    """At e = 0; and where TPR = exp(a) FPR + d(a) meets 1 - FPR = exp(b) (1 - TPR) + d'(b).

    On either side of that one of both holds TPR - FPR down. It says more where a curve has but a few places.
    """
    best = float(np.min(np.expm1(of.epsilons) + of.deltas))
    if len(of.epsilons) != len(other.epsilons):
        return _chance(best)
    steep, flat = np.exp(of.epsilons), np.exp(-other.epsilons)
    known = steep > flat
    meets = (1 - flat * (1 - other.deltas) - of.deltas)[known] / (steep - flat)[known]
    values = (steep[known] - 1) * meets + of.deltas[known]
    return _chance(min(best, float(values.min(initial=1.0))))


def tpr(pair: Pair, rate: float) -> float:
    """The most that the rate of hits can be at this rate of false alarms."""
    return max(_tpr(of, other, rate) for of, other in pair.ways)


def _tpr(of: Curve, other: Curve, rate: float) -> float:
    near = np.exp(of.epsilons) * rate + of.deltas
    far = 1 - np.exp(-other.epsilons) * np.maximum(1 - rate - other.deltas, 0)
    return _chance(float(min(near.min(), far.min())))


def most_loss(pair: Pair, delta: float) -> float:
    """How much the log of the odds may grow, except with chance `delta`; infinite where nothing bounds it."""
    return max(_most_loss(of, delta) for of, _ in pair.ways)


def _most_loss(of: Curve, delta: float) -> float:
    known = of.deltas < delta
    if not known.any():
        return math.inf
    return float(np.min(of.epsilons[known] - np.log1p(-of.deltas[known] / delta)))


def believed(prior: float, loss: float) -> float:
    """A belief whose odds grew by exp(loss)."""
    return _chance(1 / (1 + (1 - prior) / prior * math.exp(-loss)))


def mean_posterior(pair: Pair, prior: float) -> float:
    """The most that the mean of the belief in what is true can be."""
    return max(_mean_posterior(of, other, prior) for of, other in pair.ways)


def _mean_posterior(of: Curve, other: Curve, prior: float) -> float:
    # At r < 1 the mean of max(0, r - g) is 1 - g + g times that of the other way at 1 / g.
    lower, upper = np.exp(-other.epsilons[::-1]), np.exp(np.minimum(of.epsilons, 700))
    sticks = np.concatenate((1 - lower * (1 - np.minimum(other.deltas[::-1], 1)), np.minimum(of.deltas, 1)))
    ratios = np.concatenate((lower, upper))
    ratios, places = np.unique(ratios, return_index=True)
    ends = np.concatenate((np.zeros(1), ratios))
    heights = ends * (prior * ends / (prior * ends + 1 - prior))
    slopes = np.append(np.diff(heights) / np.diff(ends), 1.0)  # beyond the last one h rises by less than 1
    bends = np.maximum(np.diff(slopes), 0)
    return _chance(float(slopes[0] + bends @ sticks[places]))


def _chance(value: float) -> float:
    """Rounded up; 1 for what is no number."""
    return max(value, 0.0) * _UP if value < 1 / _UP else 1.0
