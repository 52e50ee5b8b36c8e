"""What follows from curves bounds every attack, whatever the two distributions and wherever the curve is known."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from privacy.accounting.risks import figures
from privacy.accounting.risks.epsilon import advantage as advantage_of_epsilon
from privacy.accounting.risks.figures import (
    GUESSES,
    PRIORS,
    Curve,
    Pair,
    believed,
    mean_posterior,
    most_loss,
    risk,
    risk_from,
    tpr,
)
from privacy.accounting.unsampled import gaussian_delta

DELTA = 1e-5
MUS = (0.01, 0.3, 0.67, 2.0, 6.0)


def gaussian(mu: float) -> Pair:
    places = np.linspace(0.0, mu * (mu / 2 + 6.5), 512)
    curve = Curve(places, np.array([gaussian_delta(mu, float(place)) for place in places]))
    return Pair(curve, curve)


@pytest.mark.parametrize("mu", MUS)
def test_of_a_gaussian_they_are_its_closed_forms(mu: float) -> None:
    """Advantage 2 Phi(mu / 2) - 1 and TPR Phi(Phi^-1(a) + mu) (Dong, Roth, Su 2019); the rest follows."""
    found = risk(gaussian(mu), DELTA)
    rates = {**found.tpr_at_fpr, **found.reconstruction}
    exact = {rate: norm.cdf(norm.ppf(rate) + mu) for rate in rates}
    pairs = [(found.advantage, 2 * norm.cdf(mu / 2) - 1)]
    pairs += [(value, exact[rate]) for rate, value in rates.items()]
    for prior, belief in found.posterior.items():
        grown = DELTA / norm.cdf(norm.ppf(DELTA) - mu)  # TPR over FPR where TPR is delta
        pairs.append((belief.quantile, prior * grown / (prior * grown + 1 - prior)))
        loss = norm.ppf((np.arange(400_000) + 0.5) / 400_000) * mu + mu**2 / 2
        pairs.append((belief.mean, float(np.mean(1 / (1 + (1 - prior) / prior * np.exp(-loss))))))
        own = believed(prior, mu**2 / 2 - mu * norm.ppf(DELTA))
        assert belief.quantile >= own, "the quantile of its own loss is a little smaller"
    for value, wanted in pairs:
        assert wanted * (1 - 1e-6) <= value <= wanted * (1 + 2e-3)


weights = st.lists(st.floats(0.001, 1), min_size=2, max_size=6)


@given(weights, weights, st.lists(st.floats(0, 6), min_size=1, max_size=5), st.floats(0.001, 0.6))
def test_no_attack_on_two_discrete_laws_is_better(
    ps: list[float], qs: list[float], places: list[float], delta: float
) -> None:
    """DP-65: against all tests of Neyman and Pearson, and all posteriors, of the two laws themselves."""
    size = min(len(ps), len(qs))
    p, q = (np.array(each[:size]) / sum(each[:size]) for each in (ps, qs))
    pair = Pair(curve(p, q, sorted(places)), curve(q, p, sorted(places)))
    found = risk(pair, delta)
    assert found.advantage >= np.abs(p - q).sum() / 2 - 1e-12
    assert found.advantage <= min(advantage_of_epsilon(e, d) for e, d in points(pair)) + 1e-9
    for rate, value in (*found.tpr_at_fpr.items(), *found.reconstruction.items()):
        assert value >= max(best_test(p, q, rate), best_test(q, p, rate)) - 1e-12
    for prior, belief in found.posterior.items():
        for one, other in ((p, q), (q, p)):
            posterior = prior * one / (prior * one + (1 - prior) * other)
            assert belief.mean >= one @ posterior - 1e-12
            assert one[posterior > belief.quantile + 1e-9].sum() <= delta + 1e-12


def curve(p: np.ndarray, q: np.ndarray, places: list[float]) -> Curve:
    return Curve.of(*((e, float(np.maximum(p - math.exp(e) * q, 0).sum())) for e in places))


def points(pair: Pair) -> list[tuple[float, float]]:
    """What holds at each place of both ways."""
    deltas = np.maximum(pair.removed.deltas, pair.added.deltas)
    return list(zip(pair.removed.epsilons.tolist(), deltas.tolist(), strict=True))


def best_test(p: np.ndarray, q: np.ndarray, rate: float) -> float:
    """The largest P(S) with Q(S) = rate: outcomes by their ratio, the last one in part."""
    order, found = np.argsort(-p / q), 0.0
    for place in order:
        taken = min(rate, float(q[place]))
        found, rate = found + float(p[place]) * taken / float(q[place]), rate - taken
    return found


def test_the_worse_of_both_ways_counts() -> None:
    p, q = np.array([0.05, 0.95]), np.array([0.001, 0.999])
    places = np.linspace(0, 5, 200).tolist()
    pair = Pair(curve(p, q, places), curve(q, p, places))
    turned = Pair(pair.added, pair.removed)
    assert risk(pair, 0.01) == risk(turned, 0.01)
    assert tpr(pair, 0.001) == pytest.approx(0.05, rel=1e-3)
    assert most_loss(pair, 0.01) == pytest.approx(math.log(50), rel=1e-2)
    assert mean_posterior(pair, 0.5) >= float(p @ (p / (p + q)))


@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_nothing_known_bounds_nothing(delta: float) -> None:
    nothing = Curve.of((0.0, 1.0))
    found = risk(Pair(nothing, nothing), delta)
    assert set(found.values) == {1.0}
    assert set(risk(Pair(*[Curve.of((0.0, math.nan))] * 2), delta).values) == {1.0}


def test_nothing_released_teaches_nothing() -> None:
    found = risk(Pair(*[Curve.of((0.0, 0.0))] * 2), DELTA)
    assert found.advantage == 0
    assert found.reconstruction == pytest.approx({chance: chance for chance in GUESSES})
    for prior in PRIORS:
        assert (found.posterior[prior].mean, found.posterior[prior].quantile) == pytest.approx((prior, prior))


def test_plain_data_are_read_back_and_nothing_else_is() -> None:
    found = risk(gaussian(0.67), DELTA)
    told = found.to_json()
    assert risk_from(told, DELTA) == found
    assert len(found.names) == len(found.values)
    for wrong in (
        None, [], {}, {**told, "advantage": 1.5}, {**told, "advantage": True}, {**told, "advantage": math.nan},
        {**told, "more": 1}, {**told, "tpr_at_fpr": {"0.01": 0.1}},
        {**told, "posterior": {"delta": DELTA, "from": 1}},
    ):  # fmt: skip
        assert risk_from(wrong, DELTA) is None
    assert risk_from(told, 1e-6) is None, "another delta is another question"


@given(st.floats(0, 1), st.floats(1e-6, 1e-2))
def test_to_widen_is_never_to_promise_more(value: float, share: float) -> None:
    found = risk(Pair(*[Curve.of((0.0, value))] * 2), DELTA)
    wider = found.widened(share)
    for before, after in zip(found.values, wider.values, strict=True):
        assert before <= after <= min(1.0, before * (1 + 2 * share) + 1e-11)


def test_examples_hold() -> None:
    failed, tried = doctest.testmod(figures)
    assert (failed, tried > 0) == (0, True)
