"""Metrics of a task's own code: of the model's outputs, beside those of what the outputs say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from federation.model.task import Dataset, Task, cross_entropy
from federation.plan.outcomes import Classes
from simulations.outcomes.judging import figures_of, figures_said, judge_of

OUTPUTS = torch.tensor([[0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
LABELS = torch.tensor([1, 0, 0])


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
