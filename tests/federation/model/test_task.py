"""Tasks: the built-in models, and the user's own code when it is right and when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from federation.errors import TaskError
from federation.model.params import Layout
from federation.model.task import Task, build_task, cross_entropy
from federation.plan.plan import parse
from tests.plans import TEXT, changed

CODE = """
import torch
from torch import nn
from federation.model.task import Dataset, Task, cross_entropy

def small(inputs, classes):
    return nn.Sequential(nn.Linear(inputs, 3), nn.ReLU(), nn.Linear(3, classes))

def normed(inputs, classes):
    return nn.Sequential(nn.BatchNorm1d(inputs), nn.Linear(inputs, classes))

def narrow(inputs, classes):
    return nn.Linear(inputs, 1)

def deaf(inputs, classes):
    return nn.Linear(inputs + 1, classes)

def text(inputs, classes):
    return "model"

def broken(inputs, classes):
    raise RuntimeError("first line\\nsecond line")

def data(source):
    return Dataset(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))

task = Task("mine", lambda: nn.Linear(2, 2), cross_entropy, data)
dataless = Task("mine", lambda: nn.Linear(2, 2), cross_entropy)
measured = Task("mine", lambda: nn.Linear(2, 2), cross_entropy, data, metrics={"off": lambda *_: 1.0})
number = 3
"""


@pytest.fixture(autouse=True)
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_code.py").write_text(CODE)
    (tmp_path / "own_exit.py").write_text("raise SystemExit(3)")
    (tmp_path / "own_typo.py").write_text("def f(:\n")
    (tmp_path / "own_import.py").write_text("import no_such_package_anywhere")
    monkeypatch.syspath_prepend(str(tmp_path))


def with_task(name: str) -> str:
    table = TEXT[TEXT.index("[task]") : TEXT.index("[cohort]")]
    return f'task = "{name}"\n' + TEXT.replace(table, "")


@pytest.mark.parametrize(
    ("model", "dimension"),
    [("logistic", 5 * 2 + 2), ("mlp", 5 * 64 + 64 + 64 * 2 + 2), ("own_code:small", 5 * 3 + 3 + 8)],
)
def test_a_tabular_model_maps_inputs_to_classes(model: str, dimension: int) -> None:
    task = build_task(parse(changed('"logistic"', f'"{model}"')))
    assert Layout.of(task.model()).dimension == dimension
    outputs = task.model()(torch.zeros(3, 5))
    assert outputs.shape == (3, 2)
    assert task.loss(outputs, torch.tensor([0, 1, 0])).shape == (3,)


def test_the_loss_is_the_negative_log_likelihood_of_each_example() -> None:
    outputs, labels = torch.tensor([[0.0, 1.0], [2.0, -1.0]]), torch.tensor([1, 1])
    expected = -torch.log_softmax(outputs, dim=1)[torch.arange(2), labels]
    assert torch.allclose(cross_entropy(outputs, labels), expected)


def test_the_users_own_task_is_found() -> None:
    task = build_task(parse(with_task("own_code:task")))
    assert isinstance(task, Task)
    assert task.name == "mine"


def test_a_metric_is_one_of_the_tasks_own_or_of_what_it_predicts() -> None:
    def asks(name: str, metrics: str) -> None:
        build_task(
            parse(
                with_task(name).replace(
                    'metrics = ["accuracy", "balanced_accuracy", "auc", "f1", "recall"]',
                    f"metrics = {metrics}",
                )
            )
        )

    asks("own_code:measured", '["off", "accuracy"]')
    with pytest.raises(TaskError, match=r'"of" is no metric of what it predicts.*metrics = \["off"\]'):
        asks("own_code:measured", '["of"]')
    with pytest.raises(TaskError, match='"off" is no metric'):
        asks("own_code:task", '["off"]')


def test_building_a_task_leaves_torchs_generator_alone() -> None:
    state = torch.get_rng_state()
    build_task(parse(TEXT))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("own_code:normed", "BatchNorm1d"),
        ("own_code:narrow", r"outputs are not \(n, 2\); one column per class"),
        ("own_code:deaf", "must take 5 inputs"),
        ("own_code:text", r"not a torch\.nn\.Module"),
        ("own_code:broken", r"RuntimeError \(first line\)"),
        ("own_code:number", "is not a function"),
        ("own_code:absent", 'has no "absent"'),
        ("own_absent:f", 'there is no module "own_absent"'),
        ("own_import:f", 'there is no module "no_such_package_anywhere"'),
        ("own_exit:f", r"SystemExit \(3\)"),
        ("own_typo:f", "SyntaxError"),
    ],
)
def test_a_factory_that_does_not_fit_is_one_line(model: str, expected: str) -> None:
    with pytest.raises(TaskError, match=expected) as caught:
        build_task(parse(changed('"logistic"', f'"{model}"')))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [("own_code:number", r"not a federation\.Task"), ("own_code:dataless", "no data function")],
)
def test_a_task_that_is_none_is_one_line(name: str, expected: str) -> None:
    with pytest.raises(TaskError, match=expected):
        build_task(parse(with_task(name)))


def test_a_model_is_made_anew_each_time() -> None:
    task = build_task(parse(TEXT))
    first, second = task.model(), task.model()
    assert isinstance(first, nn.Module)
    assert first is not second
