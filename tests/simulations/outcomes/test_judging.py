"""Whole simulations of every outcome: one result by every engine, an audit that finds nothing, folds.

And metrics of a task's own code: of the model's outputs, beside those of what the outputs say.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from federation.audit.examine import audit
from federation.model.task import Dataset, Task, cross_entropy
from federation.plan.outcomes import Classes
from federation.report.report import metrics_of
from simulations.folds.crossing import cross_validate
from simulations.mocked import mock_names, write_mock_sites
from simulations.outcomes.judging import figures_of, figures_said, judge_of
from simulations.simulate import simulate
from tests.outcomes import EXPOSED, REGRESSION, SURVIVAL
from tests.plans import Changes, plan_of
from tests.worlds import load_params

OUTPUTS = torch.tensor([[0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
LABELS = torch.tensor([1, 0, 0])


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


def longest(outputs: Tensor, labels: Tensor) -> float:
    assert torch.equal(labels, LABELS)
    return float(outputs.max())


def task(**metrics: object) -> Task:
    data = Dataset(torch.zeros(3, 2), LABELS)
    return Task("own", lambda: nn.Linear(2, 2), cross_entropy, lambda _: data, metrics=metrics)  # type: ignore[arg-type]


def test_a_tasks_own_metrics_see_outputs_and_all_others_what_these_say() -> None:
    own = task(longest=longest, none=lambda *_: None, endless=lambda *_: float("inf"))
    names = ("longest", "accuracy", "none", "endless")
    found = figures_of(own, Classes(2), OUTPUTS, LABELS, names, None)
    assert list(found) == list(names)
    assert found == {"longest": 3.0, "accuracy": pytest.approx(2 / 3), "none": None, "endless": None}


def test_predictions_alone_have_no_metric_of_outputs() -> None:
    own, judge = task(longest=longest), judge_of(Classes(2))
    found = figures_said(own, judge, judge.said(OUTPUTS), LABELS, ("longest", "accuracy"))
    assert found == {"longest": None, "accuracy": pytest.approx(2 / 3)}
    assert figures_said(own, judge, judge.said(OUTPUTS), LABELS, ("longest",)) == {"longest": None}
