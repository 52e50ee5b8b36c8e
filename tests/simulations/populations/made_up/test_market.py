"""The panel holds what its page says can be known; its test shares neither accounts nor days with the training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clients.data.folders import find_sites
from clients.data.load import read_table
from clients.data.sources.reading import read
from federation.plan.plan import load
from federation.plan.series.tasks import Series
from simulations.populations.made_up import market
from simulations.populations.registry import population_for, scenario_for

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return population_for("market").write(tmp_path_factory.mktemp("market"), 0)


def windows(folder: Path, part: str) -> tuple[Floats, Floats]:
    """Of all sites: market, flow and book of sixteen days in percent (n, 16, 3), and tomorrow's book (n,)."""
    task = load(scenario_for("market")).task
    assert isinstance(task, Series)
    found = [read_table(site.places()[part == "test"], task).data for site in find_sites(folder).sites]  # type: ignore[arg-type]
    seen = np.concatenate([one.features.numpy() for one in found]).reshape(-1, 16, 3).astype(np.float64)
    return seen * [4, 3, 5], 5 * np.concatenate([one.labels.numpy() for one in found]).astype(np.float64)


def r2(predicted: Floats, truth: Floats) -> float:
    return float(1 - np.mean((predicted - truth) ** 2) / truth.var())


def test_what_anybody_can_know_is_what_the_formula_says() -> None:
    """By the generator's own law, drawn anew without the generator: many accounts of independent markets."""
    draws = np.concatenate([market.Draws("another", seed).normal(4, 20_000)[None] for seed in range(5)])
    before, shock, beta, chance = draws.transpose(1, 0, 2).reshape(4, -1)
    own = np.sqrt((market.IMPACT**2 + market.CHANCE**2) / (1 - market.REVERSAL**2))
    more = np.concatenate([market.Draws("more", seed).normal(2, 20_000)[None] for seed in range(5)])
    flow, e = more.transpose(1, 0, 2).reshape(2, -1)
    beta, e = market.BETA + market.BETAS * beta, own * e
    known = beta * market.MOMENTUM * before + market.REVERSAL * e + market.IMPACT * flow
    tomorrow = known + beta * np.sqrt(1 - market.MOMENTUM**2) * shock + market.CHANCE * chance
    assert r2(known, tomorrow) == pytest.approx(market.best(), abs=0.01)


def test_beta_shows_in_a_window_and_a_straight_line_comes_less_far(folder: Path) -> None:
    seen, truth = windows(folder, "train")
    today, flow, book = seen[:, -1, 0], seen[:, -1, 1], seen[:, -1, 2]
    moved, returned = seen[:, :, 0], seen[:, :, 2]
    beta = (3 * market.BETA + (moved * returned).sum(1)) / (3 + (moved**2).sum(1))  # ridge regression
    e = book - beta * today
    by_beta = beta * market.MOMENTUM * today + market.REVERSAL * e + market.IMPACT * flow
    columns = np.c_[seen.reshape(len(seen), -1), np.ones(len(seen))]
    straight = r2(columns @ np.linalg.lstsq(columns, truth, rcond=None)[0], truth)
    assert straight + 0.05 < r2(by_beta, truth) < market.best() + 0.03
    assert straight == pytest.approx(0.25, abs=0.03)


def test_neither_accounts_nor_days_of_the_test_are_in_the_training(folder: Path) -> None:
    found: dict[str, tuple[set[str], set[int]]] = {"train": (set(), set()), "test": (set(), set())}
    for part, (accounts, days) in found.items():
        for path in folder.rglob(f"{part}.csv"):
            table = read(path)
            accounts.update(table.column("account"))
            days.update(map(int, table.column("day")))
    assert not found["train"][0] & found["test"][0]
    assert max(found["train"][1]) + 16 < min(found["test"][1])
    assert len(found["train"][0] | found["test"][0]) == market.ACCOUNTS
