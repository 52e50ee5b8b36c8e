"""Intervals: published examples, what they cover, and the edges where others have no width."""

from __future__ import annotations

import numpy as np
import pytest

from simulations.scoring.intervals import of_auc, of_difference, of_f1, of_mean, of_mean_of, of_share


def test_shares_and_their_difference_are_those_of_newcombe_1998() -> None:
    assert of_share(81, 263)[1:] == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert of_share(0, 20)[1:] == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert of_share(1, 29)[1:] == pytest.approx((0.0061, 0.1718), abs=5e-5)
    found = of_difference(of_share(56, 70), of_share(48, 80))  # his method 10, example (a)
    assert found == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_a_perfect_auc_still_has_an_interval_that_narrows_with_records() -> None:
    few, many = of_auc(1.0, 5, 5), of_auc(1.0, 500, 500)
    assert few.high == many.high == pytest.approx(1.0)
    assert few.low is not None and many.low is not None and 0.5 < few.low < 0.9 < many.low < 1.0
    assert of_auc(0.3, 7, 90).low == pytest.approx(1 - (of_auc(0.7, 90, 7).high or 0.0))


def test_f1_is_a_function_of_a_share() -> None:
    found, share = of_f1(30, 20), of_share(30, 50)
    assert found == pytest.approx([2 * one / (1 + one) for one in share if one is not None])
    assert found.value == pytest.approx(60 / 80)


def test_a_single_record_has_no_interval_of_a_mean_and_neither_has_what_is_made_of_it() -> None:
    one = of_mean(np.array([0.25]))
    assert one == (0.25, None, None)
    assert of_mean_of([one, of_share(1, 2)])[1:] == (None, None)


def test_intervals_cover_what_they_say() -> None:
    """Of 600 draws the true figure is within 95 % of the intervals, give or take four deviations of chance."""
    made, draws, hits = np.random.default_rng(3), 600, {"share": 0, "auc": 0, "mean": 0, "both": 0}  # noqa: TID251  made-up records
    true_auc = 0.7602  # of normal scores that are one deviation apart
    for _ in range(draws):
        above, below = made.normal(1, 1, 25), made.normal(0, 1, 120)
        auc = float((above[:, None] > below).mean())
        values = made.exponential(1, 120)
        shares = of_share(int(made.binomial(25, 0.4)), 25), of_share(int(made.binomial(120, 0.9)), 120)
        for name, found, true in (
            ("share", shares[0], 0.4),
            ("auc", of_auc(auc, 25, 120), true_auc),
            ("mean", of_mean(values), 1.0),
            ("both", of_mean_of(shares), 0.65),
        ):
            hits[name] += (found.low or 0.0) <= true <= (found.high or 0.0)
    for name, count in hits.items():
        assert 0.915 <= count / draws <= 0.985, (name, count / draws)
