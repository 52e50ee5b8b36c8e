"""Dealing: shares of classes and of sizes have the distributions that they are said to have."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from simulations.populations.columns import Classes, Columns
from simulations.populations.dealing import Dealt, deal
from simulations.populations.rules import Rule

ROWS, SITES, SEEDS = 4000, 5, 150


def columns(owners: np.ndarray | None = None) -> Columns:
    codes = (np.arange(ROWS) % 4 == 0).astype(np.int32)
    return Columns(("y",), range(ROWS), None, Classes("y", ("0", "1"), codes), owners, None)


def counts(dealt: Dealt, label: int) -> np.ndarray:
    return np.bincount(dealt.site[(np.arange(ROWS) % 4 == 0) == label], minlength=SITES)


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_of_each_class_the_sites_get_dirichlet_shares_of_their_own(alpha: float) -> None:
    dealt = [
        deal(Rule("dirichlet", alpha, sites=SITES, minimum=1, seed=seed), columns()) for seed in range(SEEDS)
    ]
    shares = np.array(
        [[counts(each, label) / counts(each, label).sum() for each in dealt] for label in (0, 1)]
    )
    beta = stats.beta(alpha, (SITES - 1) * alpha)
    for label in (0, 1):
        # Each size is rounded to whole rows, and a site is never empty: both are small beside the spread.
        assert stats.kstest(shares[label, :, 0], beta.cdf).pvalue > 1e-3
        assert shares[label].mean(axis=0) == pytest.approx(1 / SITES, abs=5 * beta.std() / np.sqrt(SEEDS))
    assert abs(np.corrcoef(shares[0, :, 0], shares[1, :, 0])[0, 1]) < 0.3


def test_a_quantity_skew_leaves_the_classes_alone() -> None:
    dealt = [deal(Rule("quantity", 0.5, sites=SITES, minimum=40, seed=seed), columns()) for seed in range(40)]
    sizes = np.array([np.bincount(each.site, minlength=SITES) for each in dealt])
    assert sizes.sum(axis=1).tolist() == [ROWS] * 40
    assert sizes.std() > 0.5 * ROWS / SITES
    assert sizes.min() >= 40
    positives = np.array([counts(each, 1) for each in dealt])
    z = (positives - sizes / 4) / np.sqrt(sizes * 3 / 16)
    assert abs(z).max() < 5
    assert z.std() < 1.2


def test_shares_are_drawn_again_until_every_site_has_enough() -> None:
    tries = []
    for seed in range(30):
        dealt = deal(Rule("dirichlet", 0.3, sites=SITES, minimum=100, seed=seed), columns())
        assert np.bincount(dealt.site, minlength=SITES).min() >= 100
        tries.append(dealt.tries)
    assert min(tries) == 1 < max(tries)


def test_people_with_many_rows_leave_the_parts_as_equal_as_they_can_be() -> None:
    owners = np.repeat(np.arange(ROWS), np.arange(ROWS) % 27 + 1)[:ROWS]
    dealt = deal(Rule("iid", sites=SITES, patient="who"), columns(owners))
    sizes = np.bincount(dealt.site)
    assert np.ptp(sizes) <= 2 * np.bincount(owners).max()
    assert len(np.unique(owners * SITES + dealt.site)) == owners.max() + 1
