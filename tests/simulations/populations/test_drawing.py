"""Draws: each distribution is the one that it says, for any parameter, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simulations.populations.drawing import Draws

COUNT = 20_000


def test_the_same_use_and_seed_give_the_same_draws() -> None:
    assert Draws("a", 0).uniform(3).tolist() == Draws("a", 0).uniform(3).tolist()
    assert Draws("a", 0).uniform(3).tolist() != Draws("a", 1).uniform(3).tolist()
    assert Draws("a", 0).uniform(3).tolist() != Draws("b", 0).uniform(3).tolist()
    # A stream is a fixed function of its key: another value here makes other data of every seed.
    assert Draws("a", 0).uniform(2).tolist() == pytest.approx([0.373143869876584, 0.32202694822731026])


def test_uniform_and_normal_numbers_have_their_distributions() -> None:
    draws = Draws("uniform", 0)
    assert stats.kstest(draws.uniform(COUNT), "uniform").pvalue > 1e-3
    assert stats.kstest(draws.normal(COUNT), "norm").pvalue > 1e-3
    assert sorted(draws.order(50).tolist()) == list(range(50))


def test_choices_are_in_proportion_to_their_weights() -> None:
    counts = np.bincount(Draws("choices", 0).choices([1.0, 0.0, 3.0], COUNT), minlength=3)
    assert counts[1] == 0
    assert counts[2] / COUNT == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("alpha", [0.001, 0.1, 0.3, 1.0, 10.0, 1e6])
def test_shares_are_dirichlet(alpha: float) -> None:
    shares = Draws("dirichlet", 0).dirichlet(alpha, 4000, 5)
    assert np.isfinite(shares).all()
    assert shares.sum(axis=1) == pytest.approx(1)
    # One share is Beta(alpha, 4 alpha): its mean, its variance and, where floats can hold them, all of it.
    beta = stats.beta(alpha, 4 * alpha)
    assert shares.mean(axis=0) == pytest.approx(beta.mean(), abs=5 * beta.std() / np.sqrt(4000))
    assert shares.var() == pytest.approx(beta.var(), rel=0.1)
    if 0.1 <= alpha <= 10:
        assert stats.kstest(shares[:, 0], beta.cdf).pvalue > 1e-3


def test_shares_with_an_alpha_each_have_their_means() -> None:
    draws = Draws("dirichlet", 0)
    mean = np.mean([draws.dirichlet_of([1.0, 2.0, 5.0]) for _ in range(2000)], axis=0)
    assert mean == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.02)
