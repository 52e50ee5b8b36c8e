"""Curves: they add up to the model's own log-odds, and find what a straight line cannot."""

from __future__ import annotations

from itertools import cycle, product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clients.data.load import read_csv
from federation.model.curves import Curve, curves, intercepts, surfaces
from federation.model.params import Layout, initial_params
from federation.model.task import build_task
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from tests.plans import text_of

FEATURES = {
    "age": {"low": 20, "high": 90},
    "dose": {"low": 1, "high": 1000, "scale": "log", "missing": "indicator"},
    "ward": {"values": ["a", "b", "c"], "other": True},
    "seen": {
        "date": "%Y-%m-%d", "since": "2024-01-01", "until": "2024-12-31", "take": ["days", "month"],
        "missing": "indicator",
    },
}  # fmt: skip
CROSS = [["age", "ward"], ["dose", "age"]]


def plan_of(model: str = "additive", classes: int = 2, cross: list[list[str]] | None = None) -> Plan:
    names = [str(number) for number in range(classes)]
    changes = {"task.features": FEATURES, "task.model": model, "task.classes": names}
    return parse(text_of(changes | ({"task.cross": cross} if cross else {}), metrics=["accuracy"]))


def task_of(plan: Plan) -> TabularTask:
    assert isinstance(plan.task, TabularTask)
    return plan.task


def file_of(path: Path, rows: list[tuple[object, ...]]) -> Path:
    lines = ["age,dose,ward,seen,num", *(",".join(map(str, row)) for row in rows)]
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
    cells = list(product(*(range(len(shown[name, "1"].labels)) for name in ("age", "dose", "ward"))))
    rows = [
        (
            *(_cell(shown[name, "1"], at) for name, at in zip(("age", "dose", "ward"), where, strict=True)),
            day,
            0,
        )
        for where, day in zip(cells, cycle(["2024-01-01", "2024-12-31", ""]), strict=False)
    ]
    with torch.no_grad():
        outputs = module(read_csv(file_of(tmp_path / "a.csv", rows), task).features).double().numpy()
    for outcome, base in intercepts(task, params.tolist()).items():
        at = task.classes.index(outcome)
        expected = outputs[:, at] - (outputs[:, 0] if classes == 2 else outputs.mean(1))
        days, months = shown["seen", outcome], shown["seen (month)", outcome]
        for number, (age, dose, ward) in enumerate(cells):
            total = base + shown["age", outcome].effect[age] + shown["dose", outcome].effect[dose]
            total += shown["ward", outcome].effect[ward] + days.effect[number % 3]
            total += months.effect[[0, 11, 12][number % 3]]
            total += beside[("age", "ward"), outcome].effect[age][ward]
            total += beside[("dose", "age"), outcome].effect[dose][age]
            assert total == pytest.approx(expected[number], abs=1e-4)


def _cell(curve: Curve, at: int) -> object:
    """A cell of a file that lies at a point of the curve."""
    number, label = curve.at[at], curve.labels[at]
    return number if number is not None else {"is missing": "", "is another": "z"}.get(label, label)


def test_points_are_in_the_feature_s_own_units_and_centered_on_what_is_public() -> None:
    task = task_of(plan_of())
    age, dose, ward, days, months = curves(task, [0.5] * ((task.inputs + 1) * 2), 0.1)
    assert (age.at[0], age.at[-1], len(age.at)) == (20, 90, 8) and age.labels[0] == "20"
    assert dose.at[0] == pytest.approx(1) and dose.at[-2] == pytest.approx(1000) and dose.at[-1] is None
    assert dose.at[1] == pytest.approx(1000 ** (1 / 7)), "even on its scale"
    assert dose.labels[-1] == "is missing" and ward.labels == ("a", "b", "c", "is another")
    assert days.labels == ("2024-01-01", "2024-12-31", "is missing")
    assert (months.feature, months.labels[0], len(months.labels)) == ("seen (month)", "1", 13)


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
    rows = [
        (age, 1, "a", "2024-01-01", label) for age, label in zip(ages.tolist(), sick.tolist(), strict=True)
    ]
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
