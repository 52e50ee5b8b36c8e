"""DP-67: lower bounds from one run: as the two theorems say, and above the truth by the stated chance alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtri

from federation.audit.measured import onerun
from privacy.accounting.bounds import unsampled
from privacy.mechanism.noise import Stream
from tests.federation.audit.measured.test_limits import STREAM_KEY, uniform
from tests.scale import scaled


@pytest.mark.parametrize(("right", "guesses", "epsilon"), [(40, 50, 1.0), (75, 100, 0.5), (500, 500, 3.0)])
def test_the_bound_is_a_binomial_tail_and_what_delta_adds(right: int, guesses: int, epsilon: float) -> None:
    """Against sums of the library's probabilities, term by term."""
    q, canaries, delta = 1 / (1 + math.exp(-epsilon)), 1000, 1e-5
    tail = stats.binom.sf(right - 1, guesses, q)
    steps = range(1, right + 1)
    worst = max(
        (stats.binom.cdf(right - 1, guesses, q) - stats.binom.cdf(right - 1 - step, guesses, q)) / step
        for step in steps
    )
    found = onerun.chance_of(right, guesses, canaries, epsilon, delta)
    assert found == pytest.approx(min(1.0, tail + 2 * canaries * delta * worst), rel=1e-6, abs=1e-12)
    assert onerun.chance_of(0, guesses, canaries, epsilon, delta) == 1.0


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("guesses", "canaries"), [(100, 1000), (500, 1000), (300, 300)])
def test_for_pure_privacy_both_theorems_nearly_agree(epsilon: float, guesses: int, canaries: int) -> None:
    inverse = onerun.from_curve([(epsilon, 0.0)])
    rights = range(guesses // 2, guesses + 1)
    first = next(
        right for right in rights if onerun.chance_of(right, guesses, canaries, epsilon, 0.0) <= 0.05
    )
    second = next(right for right in rights if onerun.is_incredible(right, guesses, canaries, inverse, 0.05))
    assert first <= second <= first + 2


def test_a_curve_of_a_gaussian_law_is_below_its_trade_off_and_close_to_it() -> None:
    curve = [(unsampled(1.0, delta), delta) for delta in (1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.2, 0.3)]
    exact, known = onerun.gaussian(1.0), onerun.from_curve(curve)
    for value in (0.01, 0.1, 0.3, 0.6, 0.9, 0.99):
        assert exact(value) - 0.05 < known(value) <= exact(value) + 1e-9


def test_a_bound_is_above_the_truth_no_more_often_than_it_says() -> None:
    """Canaries of a Gaussian mechanism of known mu, each seen by itself: an adversary could not do better."""
    stream, canaries, mu, delta, above = Stream(STREAM_KEY), 300, 1.5, 1e-5, 0
    truth, games, best = unsampled(mu, delta), scaled(20), 0.0
    for _ in range(games):
        inside = uniform(stream, canaries) < 0.5
        order = np.argsort(mu * inside + ndtri(uniform(stream, canaries)))
        guesses = tuple(
            (2 * half, int((~inside[order[:half]]).sum() + inside[order[-half:]].sum()))
            for half in (20, 50, 150)
        )
        found = onerun.least_epsilon(guesses, canaries, delta, 0.05)
        sharp = onerun.least_gaussian(guesses, canaries, delta, 0.05)
        above += max(found, sharp) > truth
        best = max(best, sharp)
    assert stats.binom.sf(above - 1, games, 0.1) > 1e-6
    assert best > truth / 4, "the guesses show nothing: the test tests nothing"


def test_no_guesses_and_blind_guesses_show_nothing() -> None:
    assert onerun.least_epsilon((), 1000, 1e-5, 0.05) == 0.0
    assert onerun.least_epsilon(((100, 50),), 1000, 1e-5, 0.05) == 0.0
    assert onerun.least_gaussian(((100, 50),), 1000, 1e-5, 0.05) == 0.0
