"""Sentences of a frontier: who does worse than alone, and where."""

from __future__ import annotations

from typing import Any

import pytest

from simulations.tradeoff.bands import differences
from simulations.tradeoff.wording import worse


def frontier(*gains: list[float], seeds: int = 3) -> dict[str, Any]:
    """One site, a point for each list of gains, seed by seed; and a point that was refused."""
    points = [
        {"epsilon": place, "noise": "site", "sites": {"ash": {"gain": {"auc": differences(gain, [0.0] * 3)}}}}
        for place, gain in enumerate(gains, 1)
    ]
    return {"points": [*points, {"epsilon": 9.0, "noise": "site", "sites": {}}], "seeds": list(range(seeds))}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (frontier([-0.1, -0.11, -0.12], [-0.05, -0.06, -0.07], [0.1, 0.2, 0.3]), "ash at epsilon 1 (site), 2"),
        (frontier([-0.1, 0.1, 0.0], [0.1, 0.11, 0.12]), "No site clearly does worse than alone"),
    ],
    ids=["two points", "chance and a gain"],
)  # fmt: skip
def test_a_site_that_clearly_loses_is_named_with_the_points(found: dict[str, Any], said: str) -> None:
    assert said in worse(found, "auc")


def test_one_seed_says_nothing() -> None:
    assert worse(frontier([-0.1, -0.11, -0.12], seeds=1), "auc") == ""
