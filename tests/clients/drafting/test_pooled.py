"""A next plan follows from the pooled, noised table alone, and names the run that it is from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clients.drafting.plans import Wanted
from clients.drafting.pooled import propose_from, published
from federation.errors import DataError, UnusableFile
from federation.plan.plan import load
from federation.plan.tasks import Classification
from simulations.simulate import simulate
from tests.federation.plan.tallies.test_tasks import STATISTICS

_PLAN = STATISTICS.replace("epsilon = 1.0", "epsilon = 20.0").replace("bins = 4", "bins = 40")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pooled")
    text = _PLAN.replace('["F", "M"]', '["F", "M", "X"]')
    (place / "plan.toml").write_text(text)
    (place / "sites").mkdir()
    for name in "abcd":
        rows = [f"{30 + row % 20},2010-06-01,{'FM'[row % 2]}" for row in range(400)]
        (place / "sites" / f"{name}.csv").write_text("age,seen,sex\n" + "\n".join(rows) + "\n,,\n")
    simulate(place / "plan.toml", place / "sites", place / "run", public=True)
    for name in "abcd":
        (place / "sites" / f"{name}.csv").unlink()  # nothing below can have read them
    return place / "run"


def test_ranges_and_values_are_of_the_noised_table_and_the_run_is_named(run: Path) -> None:
    told = published(run)
    found = propose_from(told, "sex", "next", (), Wanted())
    assert f"of run {told.run}" in found.text
    assert load(run / "plan.toml").digest in found.text
    features = {one.feature.name: one.feature for one in found.used if one.feature is not None}
    age = features["age"]
    assert 25 <= age.low <= 30  # type: ignore[union-attr]
    assert 45 <= age.high <= 55  # type: ignore[union-attr]
    missing = age.missing  # type: ignore[union-attr]
    assert missing == "indicator" or 30 <= float(missing) <= 50  # hardly any is, but for noise
    task = found.plan.task
    assert isinstance(task, Classification)
    assert task.classes == ("F", "M", "X")


def test_a_value_that_noise_hides_is_not_listed(run: Path) -> None:
    found = propose_from(published(run), "age", "next", (), Wanted())
    sex = next(one.feature for one in found.used if one.name == "sex")
    assert sex is not None
    assert (sex.values, sex.other) == (("F", "M"), True)  # type: ignore[union-attr]


def test_other_figures_in_the_table_make_another_plan_and_nothing_else_does(
    run: Path, tmp_path: Path
) -> None:
    before = propose_from(published(run), "sex", "next", (), Wanted()).plan.digest
    (tmp_path / "plan.toml").write_bytes((run / "plan.toml").read_bytes())
    told = json.loads((run / "report.json").read_text())
    for line in told["sites"]:
        line["records"] = 7
    (tmp_path / "report.json").write_text(json.dumps(told))
    assert propose_from(published(tmp_path), "sex", "next", (), Wanted()).plan.digest == before
    told["tables"]["columns"]["age"]["quantiles"]["0.99"]["value"] = 70.0
    (tmp_path / "report.json").write_text(json.dumps(told))
    assert propose_from(published(tmp_path), "sex", "next", (), Wanted()).plan.digest != before


def test_what_was_not_counted_is_refused_by_name(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was not counted"):
        propose_from(published(run), "weight", "next", (), Wanted())
    (tmp_path / "plan.toml").write_bytes((run / "plan.toml").read_bytes())
    told = json.loads((run / "report.json").read_text())
    del told["tables"]
    (tmp_path / "report.json").write_text(json.dumps(told))
    with pytest.raises(UnusableFile, match="no table"):
        published(tmp_path)
