"""What a histogram says is what its records say, and nothing where the noise hides it (DP-55)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from federation.kinds.cells import Cells, Group
from federation.sums.scores import headline, histogram

CELLS = Cells((0.25, 0.5, 0.75), 0.5, (Group("sex", ("0", "1")),), (20, 30))
COUNTS = [400.0, 200, 100, 50, 30, 60, 120, 240, 300, 250, 80, 20, 10, 90, 150, 300]


def test_figures_without_noise_are_those_of_the_counts() -> None:
    told = histogram(CELLS, COUNTS, 1e-9)
    negatives = [700, 450, 180, 70]
    positives = [40, 150, 270, 540]
    pairs = sum(
        positive * (sum(negatives[:place]) + negatives[place] / 2) for place, positive in enumerate(positives)
    )
    metrics = told["metrics"]
    assert metrics["auc"]["value"] == pytest.approx(pairs / sum(negatives) / sum(positives))
    assert metrics["recall"]["value"] == pytest.approx(810 / 1000)
    assert metrics["specificity"]["value"] == pytest.approx(1150 / 1400)
    assert metrics["precision"]["value"] == pytest.approx(810 / 1060)
    assert metrics["ks"]["value"] == pytest.approx(1150 / 1400 - 190 / 1000)
    assert headline(told, CELLS, 1e-9)["records"] == pytest.approx(2400)


def test_recall_among_the_highest_scores_takes_a_share_of_the_bin_that_it_cuts() -> None:
    """Of 2,400 records 610 are in the highest bin, 540 of them positive; of 450 in the next, 270 are."""
    cells = replace(CELLS, shares=(10, 30))
    found = histogram(cells, COUNTS, 1e-9)["metrics"]
    taken = (0.3 * 2400 - 610) / 450
    assert found["recall_at_30"]["value"] == pytest.approx((540 + taken * 270) / 1000)
    assert found["recall_at_30"]["bins"] == pytest.approx(taken * 270 / 1000)  # none of the cut are positive
    assert found["recall_at_10"]["value"] == pytest.approx(540 * 240 / 610 / 1000)


def test_recall_among_the_highest_scores_is_none_where_one_bin_holds_most_of_them() -> None:
    rare = Cells((0.25, 0.5, 0.75), 0.5, (), (10,))
    assert histogram(rare, [5000.0, 60, 20, 5, 300, 60, 20, 10], 1e-9)["metrics"]["recall_at_10"] is None
    finer = Cells((0.05, 0.1, 0.25), 0.5, (), (10,))
    told = histogram(finer, [3000.0, 1500, 480, 80, 100, 60, 90, 110], 1e-9)["metrics"]["recall_at_10"]
    assert told["value"] == pytest.approx((110 + 90 * (542 - 190) / 570) / 360)
    assert told["bins"] < 0.25


def test_noise_widens_every_interval() -> None:
    exact, noised = (histogram(CELLS, COUNTS, deviation)["metrics"] for deviation in (1e-9, 8.0))
    for name, one in exact.items():
        assert noised[name]["high"] - noised[name]["low"] > one["high"] - one["low"], name


def test_nothing_is_told_of_whom_the_noise_hides() -> None:
    told = histogram(CELLS, [5.0] * CELLS.length, 20.0)
    assert set(told["metrics"].values()) == {None}
    assert told["records"] is None
    assert told["cells"] == [[None] * 4] * 2
    assert set(headline(told, CELLS, 20.0).values()) == {None}


# Of what records are drawn from: by class, the chance of each bin, and the share of each group.
CHANCES = ((0.45, 0.3, 0.2, 0.05), (0.1, 0.2, 0.3, 0.4))
RATE, PEOPLE, DEVIATION, RUNS = 0.3, 3000, 8.0, 400
COVERED = (
    "accuracy",
    "recall",
    "specificity",
    "precision",
    "f1",
    "balanced_accuracy",
    "auc",
    "gini",
    "brier",
    "recall_at_20",
    "recall_at_30",
)


def truth() -> dict[str, dict[str, float]]:
    """The figures of the population: those of as many records as anybody likes."""
    rows = [(share, chances) for share, chances in zip((1 - RATE, RATE), CHANCES, strict=True)]
    block = [1e9 * share * chance for share, chances in rows for chance in chances]
    told: dict[str, dict[str, float]] = histogram(CELLS, [*block, *block], 1e-9)["metrics"]
    return told


@cache
def shares_that_hold(told_of_noise: float) -> dict[str, float]:
    """How often an interval holds the figure of the population, of runs that have noise of `DEVIATION`."""
    drawn, exact = torch.Generator().manual_seed(11), truth()
    chances = [share * one for share, row in zip((1 - RATE, RATE), CHANCES, strict=True) for one in row]
    weights = torch.tensor(2 * chances, dtype=torch.float64)
    hits = dict.fromkeys([*COVERED, "ks", "bands"], 0.0)
    for _ in range(RUNS):
        people = torch.multinomial(weights, PEOPLE, replacement=True, generator=drawn)
        noise = DEVIATION * torch.randn(CELLS.length, generator=drawn, dtype=torch.float64)
        counts = torch.bincount(people, minlength=CELLS.length) + noise
        told = histogram(CELLS, counts.tolist(), told_of_noise)
        for name in (*COVERED, "ks"):
            one = told["metrics"][name]
            hits[name] += one["low"] <= exact[name]["value"] <= one["high"]
        band, so = told["calibration"][3], chances[7] / (chances[3] + chances[7])
        hits["bands"] += band["low"] <= so <= band["high"]
    return {name: count / RUNS for name, count in hits.items()}


@pytest.mark.parametrize("name", [*COVERED, "bands"])
def test_95_percent_of_all_intervals_hold_the_figure(name: str) -> None:
    """Chance of 400 runs alone makes .92 to .98 of .95, in all but one of a thousand."""
    assert 0.91 < shares_that_hold(DEVIATION)[name] < 0.985


def test_the_interval_of_ks_holds_at_least_as_often() -> None:
    assert shares_that_hold(DEVIATION)["ks"] >= 0.95


@pytest.mark.parametrize("name", COVERED)
def test_intervals_without_the_noise_would_not(name: str) -> None:
    """The control: the same runs, of which the intervals know chance alone."""
    assert shares_that_hold(1e-9)[name] < 0.91
