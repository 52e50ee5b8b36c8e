"""A sweep says of each plan what the plan itself would say, or why there is no such plan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from federation.plan.guarantee import cost_for
from federation.plan.plan import Plan
from federation.round.cohort import parties_of, stand_ins
from federation.round.excess import noise_excess
from privacy.accounting.units import Patient
from simulations.sweeping.axes import axes_of
from simulations.sweeping.points import sweep
from tests.plans import plan_of, text_of


def swept(tmp_path: Path, *texts: str, exact: bool = False, **changes: object) -> list[dict[str, Any]]:
    path = tmp_path / "plan.toml"
    path.write_text(text_of({"rounds": 20}, changes), encoding="utf-8")
    points: list[dict[str, Any]] = sweep(path, axes_of(texts), exact=exact).to_json()["points"]
    return points


def test_one_point_alone_is_what_the_budget_of_that_plan_says(tmp_path: Path) -> None:
    (point,) = swept(tmp_path, "epsilon=2", "sites=10")
    plan, figures = plan_of(rounds=20, epsilon=2.0, minimum=10), point["figures"]
    assert figures["noise_multiplier"] == plan.kind.noise_multiplier
    assert figures["epsilon"] == cost_for(plan, "record", Patient()).together
    assert figures["noise_excess"] == noise_excess(plan, 10)
    assert (figures["delta"], figures["unit"]) == (1e-5, "record")
    assert (figures["by"], point["refused"]) == ("accountant", None)


def test_many_points_are_bounds_and_exact_where_that_is_asked(tmp_path: Path) -> None:
    axes = "rounds=10:30:2", "sample_rate=.05,.2"
    bounds, exact = swept(tmp_path, *axes), swept(tmp_path, *axes, exact=True)
    assert [point["swept"] for point in bounds] == [point["swept"] for point in exact]
    assert [tuple(point["swept"].values()) for point in exact] == [
        (10, 0.05),
        (10, 0.2),
        (30, 0.05),
        (30, 0.2),
    ]
    for bound, real in zip(bounds, exact, strict=True):
        of_bound, of_real = bound["figures"], real["figures"]
        assert (of_bound["by"], of_real["by"]) == ("bound", "accountant")
        assert (
            of_real["noise_multiplier"] <= of_bound["noise_multiplier"] <= 1.01 * of_real["noise_multiplier"]
        )
        assert of_bound["epsilon"] <= 3.0
        assert of_bound["noise_excess"] == of_real["noise_excess"]


def test_given_noise_has_its_epsilon(tmp_path: Path) -> None:
    plan = plan_of(rounds=20)
    z, spent = plan.kind.noise_multiplier, cost_for(plan, "record", Patient()).together
    one, less = (point["figures"] for point in swept(tmp_path, f"noise_multiplier={z},{z / 2}", exact=True))
    assert one["epsilon"] == spent < less["epsilon"] / 2
    bound = swept(tmp_path, f"noise_multiplier={z},{z / 2}")[0]["figures"]
    assert spent * 0.999 <= bound["epsilon"] <= 1.01 * spent


CHANGES: dict[str, dict[str, object]] = {
    "distributed": {
        "noise": "distributed",
        "colluders": 2,
        "dropouts": 2,
        "secure_aggregation.excess_levels": 0,
    },
    "central": {"noise": "central"},
    "at the site": {"noise": "site", "local_steps": 4},
    "site as a whole": {"noise": "distributed", "unit": "client"},
    "site as a whole, at the site": {"noise": "site", "unit": "client"},
    "groups": {"noise": "distributed", "secure_aggregation.groups": 3, "server.combine": "mean"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_noise_on_a_mean_is_what_a_round_would_add(tmp_path: Path, name: str) -> None:
    """By the kinds themselves, once what may be taken out of the sum is taken out."""
    changes = {"learning_rate": 1.0, "minimum": 12, **CHANGES[name]}
    (point,) = swept(tmp_path, "records=500", **changes)
    plan = plan_of({"rounds": 20}, changes)
    found = point["figures"]
    groups = plan.secure_aggregation.groups or 1
    variance = _variance(plan, 12 // groups) / groups
    assert found["noise_of_mean"] == pytest.approx(math.sqrt(variance), rel=1e-3)


def _variance(plan: Plan, sites: int) -> float:
    names = stand_ins(sites)
    parties = parties_of(plan, dict.fromkeys(names, 500), 1)
    return plan.kind.noise_variance(parties, names, sites if len(parties.lost) > 1 else 0)


def test_what_a_mean_is_over_has_to_be_told(tmp_path: Path) -> None:
    assert swept(tmp_path, "epsilon=2")[0]["figures"]["noise_of_mean"] is None
    adam = swept(tmp_path, "records=100", noise="site", optimizer="adam")
    assert adam[0]["figures"]["noise_of_mean"] is None, "a site's own optimizer hides it"


def test_a_plan_that_is_refused_is_a_point_with_a_reason(tmp_path: Path) -> None:
    points = swept(tmp_path, "sites=2,3,10", "colluders=1,5")
    refused = [point["refused"] for point in points]
    assert [reason is None for reason in refused] == [False, False, True, False, True, True]
    assert refused[0].startswith("cohort.minimum = 2: of a sum of two, each site knows")
    assert "leaves no two honest sites" in refused[3]
    assert [point["figures"] is None for point in points] == [reason is not None for reason in refused]
    others = swept(tmp_path, "noise=none,central,loud", "epsilon=3,1000")
    assert [point["refused"] is None for point in others] == [False, False, True, False, False, False]
    assert swept(tmp_path, "noise_multiplier=.01,1")[0]["refused"].startswith(
        "a noise multiplier must be from"
    )
    assert (
        swept(tmp_path, "records=0,1")[0]["refused"]
        == "records: must be at least 1; sweep how many records a site has, from 1"
    )
