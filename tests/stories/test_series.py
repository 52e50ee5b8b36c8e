"""Series from a plan to scores: made-up files, both engines, an audit that passes, a page, scores of every row."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from federation.audit.examine import audit
from federation.cli.main import app
from federation.plan.plan import load
from simulations.mocked import write_mock_sites
from simulations.simulate import simulate
from tests.outcomes import PANEL, WARDS, but
from tests.plans import Changes, text_of
from tests.worlds import load_params

SHORT: Changes = {"federation.rounds": 2, "training.sample_rate": 0.5, "cohort.minimum": 3}
KINDS = {"gru": WARDS, "transformer": but(PANEL, model="transformer"), "linear": but(PANEL, model="linear")}


def made(folder: Path, kind: Changes, **changes: object) -> tuple[Path, Path]:
    """A plan and its three sites."""
    path, sites = folder / "plan.toml", folder / "sites"
    path.write_text(text_of(kind, SHORT, **changes))
    write_mock_sites(load(path), sites, ("a", "b", "c"), 70, 0)
    return path, sites


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_both_engines_end_with_the_same_params(kind: Changes, tmp_path: Path) -> None:
    path, sites = made(tmp_path, kind, noise="none")
    found: list[torch.Tensor] = []
    for engine in ("vectorized", "protocol"):
        simulate(path, sites, tmp_path / engine, engine=engine, baseline=False)
        found.append(load_params(tmp_path / engine))
    assert torch.allclose(found[0], found[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [WARDS, but(PANEL, model="transformer")], ids=["gru", "transformer"])
def test_from_a_plan_to_scores(kind: Changes, tmp_path: Path) -> None:
    path, sites = made(tmp_path, kind)
    checked = CliRunner().invoke(app, ["check", str(path), "--sites", str(sites)])
    assert checked.exit_code == 0, checked.output
    run = tmp_path / "run"
    report = simulate(path, sites, run, engine="protocol", baseline=False)
    assert report.privacy.unit == "patient"
    assert report.privacy.epsilon == pytest.approx(3.0, abs=0.01)
    assert not audit(run).findings
    explained = CliRunner().invoke(app, ["explain", str(run), "--data", str(sites)])
    assert explained.exit_code == 0, explained.output
    assert "age (3 before)" in explained.output
    assert "integrated gradients" in explained.output
    out = tmp_path / "scores.csv"
    table = sites / "a.csv"
    scored = CliRunner().invoke(app, ["predict", str(run), str(table), "--out", str(out), "--id", "who"])
    assert scored.exit_code == 0, scored.output
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    lines = list(csv.DictReader(io.StringIO(out.read_text())))
    times = [int(rows[int(line["row"]) - 2]["hour"]) for line in lines]
    assert len(lines) == sum(int(row["hour"]) >= 3 for row in rows)
    assert min(times) == 3  # a line for each row with three before it
    assert all(rows[int(line["row"]) - 2]["who"] == line["id"] for line in lines)
