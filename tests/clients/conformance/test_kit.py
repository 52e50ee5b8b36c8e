"""The conformance kit: each thing that a task may not do is told under its name, and a good task has no fault."""

from __future__ import annotations

import logging
import math
import random  # noqa: TID251 - a habit that is found
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.conformance.asked import ASKED, Finding, of_ours
from clients.conformance.kit import conformance, of_plan
from clients.conformance.watched import Reached, watched
from federation.model.task import Dataset, Task, cross_entropy
from federation.plan.plan import parse
from federation.plan.tasks import Classification
from tests.clients.sites import make_plan
from tests.clients.training.habits import Habit, Own, counting, editing, moving, seeding
from tests.federation.plan.tallies.test_tasks import STATISTICS


class Idle(Own):
    """Has a layer that nothing goes through."""

    def __init__(self, habit: Habit, inputs: int) -> None:
        super().__init__(habit, inputs=inputs)
        self.idle = nn.Linear(2, 2)


def mock(count: int) -> Dataset:
    return Dataset(torch.rand(count, 3), torch.randint(0, 2, (count,)))


def task_of(
    habit: Habit = lambda m, x: m.layer(x), loss: Any = cross_entropy, kind: Any = Own, **more: Any
) -> Task:
    return Task(
        "mine", partial(kind, habit, inputs=3), loss, data=lambda _: mock(3), **{"mock": mock, **more}
    )


def doing(act: Callable[[], object]) -> Habit:
    def habit(model: Own, x: Tensor) -> Tensor:
        act()
        outputs: Tensor = model.layer(x)
        return outputs

    return habit


def dials() -> None:
    with socket.socket() as line:
        line.settimeout(0.1)
        line.connect_ex(("127.0.0.1", 9))


def starts() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def missing() -> None:
    with suppress(FileNotFoundError):
        Path("no-such-file").read_text()


def prints() -> None:
    print("a record")  # noqa: T201 - a habit that is found


TWO = nn.Linear(3, 2), nn.Linear(3, 3)


def drifting() -> nn.Module:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight += float(np.random.rand())  # noqa: TID251 - a habit that is found
    return model


def looks(model: Own, x: Tensor) -> Tensor:
    outputs: Tensor = model.layer(x if x.sum() > -1 else 2 * x)
    return outputs


FAULTS: dict[str, tuple[str, Task]] = {
    "batch norm": ("model", Task("mine", lambda: nn.BatchNorm1d(3), cross_entropy, mock=mock)),
    "no module": ("model", Task("mine", lambda: 3, cross_entropy, mock=mock)),  # type: ignore[arg-type,return-value]
    "another model": ("model", Task("mine", partial(next, iter(TWO)), cross_entropy, mock=mock)),
    "other params": ("model", Task("mine", drifting, cross_entropy, mock=mock)),
    "too few": ("mock", task_of(mock=lambda _: mock(3))),
    "no data": ("mock", task_of(mock=lambda _: None)),
    "no number": ("mock", task_of(mock=lambda n: Dataset(math.nan * torch.rand(n, 3), mock(n).labels))),
    "raises": ("mock", task_of(mock=lambda _: 1 / 0)),
    "mean loss": ("loss", task_of(loss=functional.cross_entropy)),
    "view": ("loss", task_of(lambda m, x: m.layer(x.view(len(x), -1)))),
    "infinite": ("loss", task_of(loss=lambda o, y: cross_entropy(o, y) / 0)),
    "of its mock": ("loss", task_of(mock=lambda n: Dataset(torch.rand(n, 3), torch.full((n,), 7)))),
    "edits": ("inputs", task_of(editing)),
    "moves": ("parameters", task_of(moving)),
    "settings": ("settings", task_of(doing(lambda: torch.set_num_threads(torch.get_num_threads() + 1)))),
    "default dtype": ("settings", task_of(doing(lambda: torch.set_default_dtype(torch.bfloat16)))),
    "seeds": ("seed", task_of(seeding)),
    "python's": ("generators", task_of(doing(random.random))),
    "numpy's": ("generators", task_of(doing(np.random.rand))),  # noqa: TID251 - as above
    "counts": ("repeats", task_of(counting)),
    "idle": ("gradients", task_of(kind=Idle)),
    "detached": ("gradients", task_of(loss=lambda o, y: cross_entropy(o, y).detach())),
    "root": ("gradients", task_of(loss=lambda o, y: cross_entropy(o, y) + (0 * o).sum(1).abs().sqrt())),
    "mean": ("alone", task_of(lambda m, x: m.layer(x - x.mean(dim=0)) if len(x) else m.layer(x))),
    "count": ("alone", task_of(lambda m, x: m.layer(x / max(1, len(x))))),
    "metric": ("metrics", task_of(metrics={"odd": lambda o, y: "many"})),
    "file": ("files", task_of(doing(missing))),
    "network": ("network", task_of(doing(dials))),
    "process": ("processes", task_of(doing(lambda: subprocess.run(["true"], check=True)))),
    "thread": ("processes", task_of(doing(starts))),
    "prints": ("silent", task_of(doing(prints))),
    "logs": ("silent", task_of(doing(lambda: logging.getLogger("mine").warning("a record")))),
}  # fmt: skip


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {found.check: found for found in findings}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_task_may_not_do_is_a_fault_under_its_own_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check, task = FAULTS[name]
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    found = by_check(conformance(task))[check]
    assert found.is_fault, found
    assert found.detail
    assert "\n" not in found.detail
    assert capsys.readouterr().out == ""
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, dtype)


def test_a_good_task_has_no_fault_and_torch_is_left_as_it_was() -> None:
    state = torch.get_rng_state()
    found = conformance(task_of(metrics={"accuracy": lambda o, y: 0.5, "none": lambda o, y: None}))
    assert [one.check for one in found if one.outcome not in ("pass", "note")] == []
    assert [one.check for one in found] == list(ASKED)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "model",
    [
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)),
        lambda: nn.Sequential(nn.Linear(3, 8), nn.GroupNorm(2, 8), nn.ReLU(inplace=True), nn.Linear(8, 2)),
    ],
)
def test_dropout_and_norms_of_single_records_are_no_fault(model: Callable[[], nn.Module]) -> None:
    assert not [one for one in conformance(Task("mine", model, cross_entropy, mock=mock)) if one.is_fault]


def test_a_mock_may_draw_as_it_likes_and_need_not_make_the_same_again() -> None:
    """It was told that the model edits its inputs."""

    def drawn(count: int) -> Dataset:
        features = np.random.rand(count, 3)  # noqa: TID251 - as people do
        return Dataset(torch.from_numpy(features).float(), mock(count).labels)

    assert not [one for one in conformance(task_of(mock=drawn)) if one.is_fault]


def test_a_path_that_follows_values_is_a_note() -> None:
    found = by_check(conformance(task_of(looks)))
    assert found["shapes"].outcome == "note"
    assert "one at a time" in found["shapes"].hint
    assert not any(one.is_fault for one in found.values())


def test_a_task_without_mock_records_is_told_how_to_be_tried() -> None:
    found = by_check(conformance(task_of(mock=None)))
    assert found["mock"].outcome == "note"
    assert found["mock"].hint.startswith("pass mock=")
    assert {found[check].outcome for check in ("loss", "alone", "files", "cost")} == {"skipped"}


@pytest.mark.parametrize("unit", ["record", "patient", "client"])
@pytest.mark.parametrize("model", ["logistic", "mlp"])
def test_built_in_models_conform(unit: str, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.conformance.kit.chosen_route", None)  # it loads Opacus; nobody has to ask
    found = of_plan(make_plan(unit, model=model))
    assert {one.check: one.outcome for one in found if one.outcome != "pass"} == {"cost": "note"}


def test_several_faults_are_told_at_once() -> None:
    def all_of_it(model: Own, x: Tensor) -> Tensor:
        prints()
        random.random()  # noqa: S311 - a habit that is found
        return counting(model, x)

    faults = [one.check for one in conformance(task_of(all_of_it, kind=Idle)) if one.is_fault]
    assert {"silent", "generators", "repeats", "gradients"} <= set(faults)


def test_what_is_read_to_import_a_module_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_late_by_a_task.py").write_text("x = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    reached = Reached()
    with watched(reached):
        __import__("imported_late_by_a_task")
    assert reached == Reached()


def test_what_another_thread_prints_meanwhile_is_none_of_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    """`federation check` says after a while how far it is: on a slow machine that was taken for the task's."""
    reached = Reached()
    other = threading.Thread(target=lambda: sys.stderr.write("trying the task ...\n"))
    with watched(reached):
        other.start()
        other.join()
    assert reached.told == []
    assert capsys.readouterr().err == "trying the task ...\n"
    with watched(reached):
        sys.stderr.write("a record")
    assert reached.told == ["prints"]


def test_the_entry_of_an_editable_installation_is_no_file_of_the_task() -> None:
    """importlib.metadata looks into each entry of sys.path, and torch asks it when it is first used."""
    reached = Reached()
    with watched(reached):
        entry = "private_federation.egg-info/entry_points.txt"
        for name in ("__editable__.private_federation-0.1.0.finder.__path_hook__", entry, "records.csv"):
            with suppress(FileNotFoundError):
                open(name).close()
    assert reached.files == ["records.csv"]


@pytest.mark.parametrize("model", Classification.models)
@pytest.mark.parametrize("noise", ["none", "distributed"])
def test_what_is_said_of_a_built_in_task_without_asking_is_what_is_found(model: str, noise: str) -> None:
    """`federation check` does not load torch to ask a task of ours what is asked here."""
    shown = {"scan": {"image": "pixels", "height": 8, "width": 8, "channels": 1, "low": 0, "high": 64}}
    columns = {"task.features": shown} if model == "cnn" else {}
    plan = make_plan(model=model, noise=noise, classes=["a", "b", "c"], **columns)
    known, found = of_ours(plan), of_plan(plan)
    assert known is not None
    assert known[:-1] == found[:-1]
    assert (known[-1].check, known[-1].outcome) == (found[-1].check, found[-1].outcome) == ("cost", "note")
    assert found[-1].detail.startswith(f"{known[-1].detail}; 64 records in ")


def test_what_is_said_of_statistics_without_asking_is_what_is_found() -> None:
    plan = parse(STATISTICS)
    known, found = of_ours(plan), of_plan(plan)
    assert known is not None
    assert known[:-1] == found[:-1]


def test_nothing_is_known_of_a_task_that_is_not_ours() -> None:
    assert of_ours(make_plan(model="tests.strange:factory")) is None
