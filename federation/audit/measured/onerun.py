"""A lower bound on epsilon from one run with many canaries, each in the data by a coin of its own.

Who sees all releases guesses of some canaries whether they are in. Under (epsilon, delta) the number of right
guesses is not much larger than a binomial one (Steinke, Nasr and Jagielski 2023); under a trade-off function f a
recursion bounds it more sharply (Mahloujifar, Melis and Chaudhuri 2024). Many right guesses make a small epsilon
incredible. Few of them show nothing: the guesser may be a poor one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import bdtrc, gammaln, ndtr, ndtri

from privacy.accounting.bounds import unsampled

_STEPS = 40
Inverse = Callable[[float], float]


def chance_of(right: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """A bound on the chance of so many right guesses or more under (epsilon, delta)."""
    if right <= 0:
        return 1.0
    q = 1 / (1 + math.exp(-epsilon))
    below = np.arange(right - 1, -1, -1)
    log = gammaln(guesses + 1) - gammaln(below + 1) - gammaln(guesses - below + 1)
    masses = np.exp(log + below * math.log(q) + (guesses - below) * (-epsilon + math.log(q)))
    worst = float(np.max(np.cumsum(masses) / np.arange(1, right + 1)))
    return min(1.0, float(bdtrc(right - 1, guesses, q)) + 2 * canaries * delta * worst)


def is_incredible(right: int, guesses: int, canaries: int, inverse: Inverse, chance: float) -> bool:
    """Whether so many right guesses or more have at most this chance under a trade-off function.

    `inverse` is that of x -> 1 - f(x). Lower bounds on what guesses that are right, and wrong, add up to are
    carried from `right` down to 0; together they cannot be more than all guesses.
    """
    in_right, in_wrong = chance * right / canaries, chance * (guesses - right) / canaries
    for number in range(right - 1, -1, -1):
        wrong = max(in_wrong, inverse(in_right))
        in_right += number / (guesses - number) * (wrong - in_wrong)
        in_wrong = wrong
        if in_right + in_wrong >= guesses / canaries:  # neither falls any more
            return True
    return in_right + in_wrong >= guesses / canaries


def gaussian(mu: float) -> Inverse:
    """Of the trade-off of two normal laws `mu` deviations apart."""

    def inverse(value: float) -> float:
        return float(ndtr(ndtri(min(1.0, value)) - mu))

    return inverse


def from_curve(curve: Sequence[tuple[float, float]]) -> Inverse:
    """Of the trade-off that a mechanism has which is (epsilon, delta)-private for each of these pairs."""

    def inverse(value: float) -> float:
        lines = [(value - delta) * math.exp(-epsilon) for epsilon, delta in curve]
        lines += [1 - delta - math.exp(epsilon) * (1 - value) for epsilon, delta in curve]
        return max(0.0, *lines)

    return inverse


def least_epsilon(guesses: Sequence[tuple[int, int]], canaries: int, delta: float, error: float) -> float:
    """Epsilon is at least this at `delta`, unless something of chance `error` happened: the best of all counts."""
    each = error / max(1, len(guesses))

    def holds(epsilon: float) -> bool:
        return all(chance_of(right, of, canaries, epsilon, delta) > each for of, right in guesses)

    return _least(holds, 30.0)


def least_gaussian(guesses: Sequence[tuple[int, int]], canaries: int, delta: float, error: float) -> float:
    """The same of a mechanism that is as private as a Gaussian one, by its trade-off."""
    each = error / max(1, len(guesses))

    def holds(mu: float) -> bool:
        return not any(is_incredible(right, of, canaries, gaussian(mu), each) for of, right in guesses)

    return unsampled(_least(holds, 12.0), delta)


def _least(holds: Callable[[float], bool], most: float) -> float:
    """The least figure that holds, from below."""
    low, high = 0.0, most
    if holds(0.0):
        return 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return low
