"""Figures of an attack: by other people's code, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from simulations.attacking.figures import exact_share, found
from tests.simulations.attacking.chance import Chance


@pytest.mark.parametrize(("hits", "of"), [(0, 20), (1, 20), (13, 20), (20, 20), (7, 4000)])
def test_the_interval_is_that_of_clopper_and_pearson(hits: int, of: int) -> None:
    theirs = stats.binomtest(hits, of).proportion_ci(0.95, "exact")
    assert exact_share(hits, of)[1:] == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_hits_and_false_alarms_are_counted() -> None:
    """Of 200 others two may be accused at 1 %, and nobody at .1 %: the surest three are others."""
    others = np.concatenate([[9.0, 8.0, 7.0], np.linspace(0, 1, 197)])
    members = np.array([10.0, 8.5, 7.5, 6.0, 0.5])
    told = found(np.concatenate([members, others]), np.arange(205) < 5)
    assert (told.hits[0.01].right, told.hits[0.01].wrong) == (3, 2)
    assert (told.hits[0.001].right, told.hits[0.001].wrong) == (1, 0)
    assert (told.members, told.others) == (5, 200)


def test_auc_is_scikit_learns_also_with_ties() -> None:
    chance = Chance(0)
    scores, within = np.round(chance.normal(500), 1), chance.uniform(500) < 0.3
    told = found(scores + within * 0.3, within)
    assert told.auc.value == pytest.approx(roc_auc_score(within, scores + within * 0.3))


def test_blind_guessing_has_no_advantage_and_the_curve_lies_on_the_diagonal() -> None:
    chance = Chance(1)
    told = found(chance.normal(20000), chance.uniform(20000) < 0.5)
    low, high = told.advantage.low, told.advantage.high
    assert low is not None and high is not None and low < 0.01 and high > -0.01
    assert all(point.low <= point.fpr + 0.02 and point.high >= point.fpr - 0.02 for point in told.roc)


def test_the_same_score_for_all_accuses_nobody() -> None:
    told = found(np.zeros(300), np.arange(300) < 150)
    assert [(at.right, at.wrong) for at in told.hits.values()] == [(0, 0), (0, 0)]
    assert told.auc.value == 0.5 and told.advantage.value == 0
