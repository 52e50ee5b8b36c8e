"""Gaps between groups: of independent figures, with an interval that holds as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from federation.kinds.blocks import Group
from federation.kinds.cells import Cells
from federation.report.fairness.gaps import gaps, less
from federation.report.figures.published import Histogram
from federation.report.parts import Ranged
from federation.sums.scores import histogram
from simulations.scoring.intervals import of_share


def of(value: float | None, low: float | None, high: float | None) -> Ranged:
    return Ranged(value=value, low=low, high=high)


def test_an_interval_of_two_shares_is_newcombe_s() -> None:
    one, other = of_share(56, 70), of_share(48, 80)
    found = less(of(*one), of(*other))
    assert found is not None and found.low is not None and found.high is not None
    # The worked example of Newcombe (1998), method 10: 56 of 70 less 48 of 80.
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)


def test_groups_are_compared_with_the_first_that_the_plan_lists() -> None:
    groups = {
        "sex": {
            part: {"recall": of(share, share - 0.1, share + 0.05), "specificity": of(share / 2, 0.0, 1.0)}
            for part, share in (("a", 0.5), ("b", 0.75), ("c", 0.25))
        }
    }
    found = list(gaps(groups))
    values = [(one.part, one.beside, one.what, one.found and one.found.value) for one in found]
    assert values == [
        ("b", "a", "true positive rate", 0.25),
        ("b", "a", "false positive rate", -0.125),
        ("c", "a", "true positive rate", -0.25),
        ("c", "a", "false positive rate", 0.125),
    ]


@pytest.mark.parametrize("hidden", [None, of(None, None, None), of(0.5, None, None)])
def test_what_is_hidden_makes_no_gap(hidden: Ranged | None) -> None:
    (gap,) = gaps({"sex": {"a": {"recall": of(0.5, 0.4, 0.6)}, "b": {"recall": hidden}}})
    assert gap.found is None


def test_of_published_figures_the_interval_holds_the_noise() -> None:
    random, held, shown = np.random.default_rng(7), 0, 0  # noqa: TID251  no noise of a release
    cells, deviation = Cells((0.25, 0.5, 0.75), 0.5, (Group("sex", ("0", "1")),)), 6.0
    rates = np.array([[20, 20, 10, 10, 10, 10, 30, 30], [60, 60, 20, 20, 40, 40, 100, 100]], float)
    for _ in range(400):
        released = random.poisson(rates).ravel() + random.normal(0, deviation, 16)
        told = Histogram.from_json(histogram(cells, list(map(float, released)), deviation))
        figures = {"sex": {part: one.metrics for part, one in told.groups["sex"].items()}}
        gap = next(iter(gaps(figures))).found
        if gap is not None and gap.low is not None and gap.high is not None:
            shown += 1
            held += gap.low <= 200 / 280 - 60 / 80 <= gap.high
    assert shown > 380
    assert 0.92 <= held / shown <= 1.0
