"""Curves: they add up to the model's own log-odds, and find what a straight line cannot."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clients.data.load import read_csv
from federation.model.curves import curves, intercepts, surfaces
from federation.model.params import Layout, initial_params
from federation.model.task import build_task
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from tests.plans import text_of

FEATURES = {
    "age": {"low": 20, "high": 90},
    "dose": {"low": -1, "high": 1},
    "ward": {"values": ["a", "b", "c"]},
}
CROSS = [["age", "ward"], ["dose", "age"]]


def plan_of(model: str = "additive", classes: int = 2, cross: list[list[str]] | None = None) -> Plan:
    names = [str(number) for number in range(classes)]
    changes = {"task.features": FEATURES, "task.model": model, "task.classes": names}
    return parse(text_of(changes | ({"task.cross": cross} if cross else {}), metrics=["accuracy"]))


def task_of(plan: Plan) -> TabularTask:
    assert isinstance(plan.task, TabularTask)
    return plan.task


def file_of(path: Path, rows: list[tuple[object, ...]]) -> Path:
    lines = ["age,dose,ward,num", *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("model", ["logistic", "additive"])
def test_intercept_curves_and_surfaces_add_up_to_the_log_odds_of_the_model(
    tmp_path: Path, model: str, classes: int
) -> None:
    plan = plan_of(model, classes, CROSS)
    task, module = task_of(plan), build_task(plan).model()
    params = torch.sin(torch.arange(Layout.of(module).dimension, dtype=torch.float32))
    Layout.of(module).load(module, params)
    shown = {(one.feature, one.outcome): one for one in curves(task, params.tolist(), 0.1)}
    beside = {(one.features, one.outcome): one for one in surfaces(task, params.tolist(), 0.1)}
    points = {name: range(len(shown[name, "1"].labels)) for name in FEATURES}
    cells = list(product(*points.values()))
    rows = [
        (shown["age", "1"].at[age], shown["dose", "1"].at[dose], "abc"[ward], 0) for age, dose, ward in cells
    ]
    with torch.no_grad():
        outputs = module(read_csv(file_of(tmp_path / "a.csv", rows), task).features).double().numpy()
    base = intercepts(task, params.tolist())
    for outcome, added in base.items():
        at = task.classes.index(outcome)
        expected = outputs[:, at] - (outputs[:, 0] if classes == 2 else outputs.mean(1))
        for number, (age, dose, ward) in enumerate(cells):
            total = added + sum(
                shown[name, outcome].effect[place]
                for name, place in zip(FEATURES, (age, dose, ward), strict=True)
            )
            total += beside[("age", "ward"), outcome].effect[age][ward]
            total += beside[("dose", "age"), outcome].effect[dose][age]
            assert total == pytest.approx(expected[number], abs=1e-4)


def test_the_noise_of_a_curve_is_what_independent_noise_in_the_params_makes_of_it() -> None:
    task = task_of(plan_of(cross=CROSS))
    size, draws = (task.inputs + 1) * 2, 1500
    noise = 0.3 * torch.randn(draws, size, generator=torch.Generator().manual_seed(0)).double().numpy()
    shown = [curves(task, params.tolist(), None) for params in noise]
    assert all(one.noise is None for one in shown[0])
    for at, expected in enumerate(curves(task, np.zeros(size).tolist(), 0.3)):
        assert expected.noise is not None
        found = np.std([one[at].effect for one in shown], axis=0)
        assert np.allclose(found, expected.noise, rtol=0.12)


def test_an_additive_model_finds_a_curve_that_a_straight_line_cannot(tmp_path: Path) -> None:
    """Log-odds of 3 cos over the range of age: high at both ends, low in the middle."""
    ages = np.linspace(20, 90, 600)
    truth = 3 * np.cos((ages - 20) / 70 * 2 * np.pi)
    spread = (np.arange(600) * 0.6180339887) % 1
    sick = (spread < 1 / (1 + np.exp(-truth))).astype(int)
    rows = [(age, 0, "a", label) for age, label in zip(ages.tolist(), sick.tolist(), strict=True)]
    path, gaps = file_of(tmp_path / "a.csv", rows), {}
    for model in ("logistic", "additive"):
        plan = plan_of(model)
        params = _trained(plan, path)
        age = curves(task_of(plan), params, 0.0)[0]
        expected = 3 * np.cos((np.array(age.at, float) - 20) / 70 * 2 * np.pi)
        gaps[model] = float(np.abs(np.array(age.effect) - expected).max())
    assert gaps["additive"] < 1 and gaps["logistic"] > 2


def _trained(plan: Plan, path: Path) -> list[float]:
    task = build_task(plan)
    data, module = read_csv(path, task_of(plan)), task.model()
    layout = Layout.of(module)
    layout.load(module, initial_params(task.model, 0) * 0)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(250):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(data.features), data.labels).backward()
        optimizer.step()
    return layout.flatten(module).tolist()


def test_what_does_not_add_up_has_no_curves() -> None:
    for change in ({"task.model": "mlp"}, {"task.rows": "unit"}):
        task = task_of(parse(text_of(change)))
        with pytest.raises(ValueError, match="add up"):
            curves(task, [0.0] * (task.inputs + 1) * 2, None)
    task = task_of(plan_of())
    with pytest.raises(ValueError, match="no params of this task"):
        curves(task, [0.0], None)
