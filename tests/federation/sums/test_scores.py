"""What a histogram says is what its records say, and nothing where the noise hides it."""

from __future__ import annotations

import pytest

from federation.kinds.cells import Cells, Group
from federation.sums.scores import headline, histogram

CELLS = Cells((0.25, 0.5, 0.75), 0.5, (Group("sex", ("0", "1")),))
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
