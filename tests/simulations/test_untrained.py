"""A plan that trains nothing, from files to a report that an audit makes again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federation.audit.examine import audit
from federation.plan.plan import parse
from simulations.simulate import simulate
from simulations.survey import survey
from tests.federation.plan.tallies.test_tasks import STATISTICS

_HIGH = STATISTICS.replace("epsilon = 1.0", "epsilon = 50.0")


def _sites(tmp_path: Path) -> Path:
    sites = tmp_path / "sites"
    sites.mkdir()
    for place, name in enumerate("abcd"):
        rows = [f"{10 + 20 * place},2010-06-01,{'FM'[row % 2]}" for row in range(50)]
        (sites / f"{name}.csv").write_text("age,seen,sex\n" + "\n".join(rows) + "\n")
    return sites


@pytest.mark.parametrize("noise", ["distributed", "site", "central"])
@pytest.mark.parametrize("engine", ["vectorized", "protocol"])
def test_the_table_is_that_of_all_records_and_is_audited(tmp_path: Path, engine: str, noise: str) -> None:
    text = _HIGH.replace('"distributed"', f'"{noise}"')
    (tmp_path / "plan.toml").write_text(text)
    out = tmp_path / "run"
    report = simulate(tmp_path / "plan.toml", _sites(tmp_path), out, engine=engine, public=True)  # type: ignore[arg-type]
    assert report.tables is not None
    assert report.tables.columns is not None
    near = 8 * report.tables.deviation
    assert report.tables.columns["age"].counts == pytest.approx([50, 50, 50, 50, 0], abs=near)
    assert report.tables.columns["sex"].counts == pytest.approx([100, 100, 0, 0], abs=near)
    assert not report.evaluation.pooled
    assert all(line.charged is not None for line in report.sites)
    assert audit(out).findings == ()
    told = json.loads((out / "report.json").read_text())
    told["tables"]["columns"]["sex"]["counts"][0] += 1
    (out / "report.json").write_text(json.dumps(told))
    assert any("tables" in one.detail for one in audit(out).findings)


def test_a_check_of_all_sites_asks_for_no_records_held_out(tmp_path: Path) -> None:
    survey(parse(_HIGH), _sites(tmp_path)).require()


def test_there_are_no_folds_of_what_is_not_trained(tmp_path: Path) -> None:
    from federation.errors import InputError
    from federation.report.report import Fold
    from simulations.world import Parted

    (tmp_path / "plan.toml").write_text(_HIGH)
    parted = Parted(Fold(number=1, of=2), lambda _, data: (data, None))
    with pytest.raises(InputError, match="no folds"):
        simulate(tmp_path / "plan.toml", _sites(tmp_path), tmp_path / "run", parted=parted)
