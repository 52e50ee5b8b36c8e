"""Whole simulations of every outcome: one result by every engine, an audit that finds nothing, folds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from federation.audit.examine import audit
from federation.report.report import metrics_of
from simulations.folds.crossing import cross_validate
from simulations.mocked import mock_names, write_mock_sites
from simulations.simulate import simulate
from tests.outcomes import EXPOSED, REGRESSION, SURVIVAL
from tests.plans import Changes, plan_of
from tests.worlds import load_params


@pytest.mark.parametrize("kind", [SURVIVAL, EXPOSED], ids=["survival", "exposure"])
def test_messages_and_one_program_end_with_the_same_params(kind: Changes, tmp_path: Path) -> None:
    plan = plan_of(kind, rounds=2, noise="none", sample_rate=0.5)
    write_mock_sites(plan, tmp_path / "sites", mock_names(3), 40, 0)
    reports = [
        simulate(plan, tmp_path / "sites", tmp_path / engine, engine=engine, baseline=False)
        for engine in ("vectorized", "protocol")
    ]
    params = [load_params(tmp_path / engine) for engine in ("vectorized", "protocol")]
    assert torch.allclose(*params, rtol=0, atol=1e-5)
    pooled = [metrics_of(report.evaluation.pooled) for report in reports]
    assert pooled[0] == pytest.approx(pooled[1], abs=1e-3)
    assert None not in pooled[0].values()


@pytest.mark.parametrize("kind", [REGRESSION, SURVIVAL], ids=["regression", "survival"])
def test_a_private_run_is_audited_and_compared_with_a_guess(kind: Changes, tmp_path: Path) -> None:
    plan = plan_of(kind, rounds=3, sample_rate=0.5)
    write_mock_sites(plan, tmp_path / "sites", mock_names(3), 60, 0)
    report = simulate(plan, tmp_path / "sites", tmp_path / "run")
    assert [finding.id for finding in audit(tmp_path / "run").findings] == []
    guess = "life_table" if "event" in str(kind["task"]) else "mean"
    assert set(report.evaluation.baselines) == {guess, "without_privacy", "local_only"}
    assert report.evaluation.missing == {}


def test_folds_are_made_of_numbers_too(tmp_path: Path) -> None:
    plan = plan_of(REGRESSION, rounds=1, sample_rate=1.0)
    write_mock_sites(plan, tmp_path / "sites", mock_names(3), 30, 0)
    found = cross_validate(plan, tmp_path / "sites", tmp_path / "folds", folds=3, baseline=False)
    assert sum(line.pooled["n"] or 0 for line in found.folds) == 90
