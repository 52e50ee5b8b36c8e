"""Published figures of numbers, counts and times are those of the records, in 95 % of all releases (DP-55)."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from clients.training.evaluating.measured import of_numbers, of_times
from federation.kinds.cells import Group
from federation.plan.outcomes import Survival
from federation.sums.measured.told import measured, names_of
from tests.federation.sums.measured.drawn import BLOCKS, COUNT, RANGE, TIME, drawn, exact, rows_of

PEOPLE, DEVIATION, RUNS = 3000, 10.0, 400


def told_of(name: str, noise: float = 1e-9) -> dict[str, dict[str, float]]:
    blocks = BLOCKS[name]
    found: dict[str, dict[str, float]] = measured(blocks, rows_of(name).sum(dim=0).tolist(), noise)["metrics"]
    return found


@pytest.mark.parametrize("name", BLOCKS)
def test_figures_without_noise_are_the_exact_ones(name: str) -> None:
    told, known = told_of(name), exact(name)
    for metric, one in told.items():
        # Half of the pairs within a bin of scores count as right.
        near = one["bins"] if metric == "c_index" else 1e-6
        assert one["value"] == pytest.approx(known[metric], abs=near), metric


@pytest.mark.parametrize("name", BLOCKS)
def test_no_record_is_longer_than_the_reach(name: str) -> None:
    blocks = BLOCKS[name]
    lengths = rows_of(name).norm(dim=1)
    assert 0.5 * blocks.reach < float(lengths.max()) <= blocks.reach + 1e-12


def test_what_is_no_number_or_far_off_is_no_longer() -> None:
    outputs = torch.tensor([[float("nan")], [float("inf")], [-float("inf")], [1e30], [-1e30]]).double()
    for blocks in (RANGE, COUNT):
        for label in (-1.0, 1.0) if blocks is RANGE else (0.0, 12.0):
            rows = of_numbers(blocks, outputs, torch.full((5,), label))
            assert bool(torch.isfinite(rows).all())
            assert float(rows.norm(dim=1).max()) <= blocks.reach + 1e-12
    for label in range(TIME.labels):
        rows = of_times(TIME, outputs.expand(5, len(TIME.ends)), torch.full((5,), label))
        assert bool(torch.isfinite(rows).all())
        assert float(rows.norm(dim=1).max()) <= TIME.reach + 1e-12


@pytest.mark.parametrize("name", BLOCKS)
def test_nothing_is_told_of_whom_the_noise_hides(name: str) -> None:
    blocks = BLOCKS[name]
    told = measured(blocks, [3.0] * blocks.block, 40.0)
    assert told["records"] is None
    assert set(told["metrics"].values()) == {None}
    assert told["metrics"].keys() == set(names_of(blocks))
    assert told["calibration"] == []


def test_a_horizon_until_which_nobody_was_seen_is_none() -> None:
    """All are censored in the second interval: of later ends nothing is known, of the first something."""
    _, outputs, labels = drawn("time")
    rows = of_times(TIME, outputs, labels.clamp(max=2)).sum(dim=0)
    told = measured(TIME, rows.tolist(), 1e-9)["metrics"]
    names = list(Survival(TIME.ends).horizons)
    assert told[names[0]] is not None
    assert [told[name] for name in (*names[1:], "mean_brier")] == [None] * len(TIME.ends)


def test_groups_are_told_apart_and_everybody_is_their_mean_over_the_tables() -> None:
    blocks = replace(RANGE, groups=(Group("sex", ("f", "m")), Group("ward", ("a", "b", "c"))))
    rows = rows_of("range")
    parts = [rows[place::count].sum(dim=0) for count in (2, 3) for place in range(count)]
    told = measured(blocks, torch.cat(parts).tolist(), 1e-9)
    assert told["records"] == pytest.approx(len(rows))
    assert told["metrics"]["mae"]["value"] == pytest.approx(exact("range")["mae"])
    for place, part in enumerate("abc"):
        assert told["groups"]["ward"][part]["sums"] == pytest.approx(rows[place::3].sum(dim=0).tolist())
    assert blocks.norm == pytest.approx(2**0.5 * RANGE.reach)


@cache
def shares_that_hold(name: str, told_of_noise: float) -> dict[str, float]:
    """How often an interval holds the figure of the population, of runs that have noise of `DEVIATION`."""
    generator, rows, truth = torch.Generator().manual_seed(11), rows_of(name), told_of(name)
    hits = dict.fromkeys(truth, 0)
    for _ in range(RUNS):
        people = torch.randint(0, len(rows), (PEOPLE,), generator=generator)
        noise = DEVIATION * torch.randn(rows.shape[1], generator=generator, dtype=torch.float64)
        sums = torch.bincount(people, minlength=len(rows)).double() @ rows + noise
        for metric, one in measured(BLOCKS[name], sums.tolist(), told_of_noise)["metrics"].items():
            hits[metric] += one is not None and one["low"] <= truth[metric]["value"] <= one["high"]
    return {metric: count / RUNS for metric, count in hits.items()}


FIGURES = [(name, metric) for name, blocks in BLOCKS.items() for metric in names_of(blocks)]


@pytest.mark.parametrize(("name", "metric"), FIGURES, ids=lambda one: one)
def test_95_percent_of_all_intervals_hold_the_figure(name: str, metric: str) -> None:
    """Chance of 400 runs alone makes .92 to .98 of .95. Where chance is bounded from above, more hold it."""
    assert shares_that_hold(name, DEVIATION)[metric] > 0.915


@pytest.mark.parametrize(
    ("name", "metric"),
    [one for one in FIGURES if one[1] not in ("r2", "mean_brier") and "brier" not in one[1]],
    ids=lambda one: one,
)
def test_intervals_without_the_noise_would_not(name: str, metric: str) -> None:
    """The control: the same runs, of which the intervals know chance alone."""
    assert shares_that_hold(name, 1e-9)[metric] < 0.915
