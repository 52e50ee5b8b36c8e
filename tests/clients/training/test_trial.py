"""A task's own code on made-up records: what ends a run before any data are read, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.training.dpsgd import chosen_route
from clients.training.isolation import FEW, Tally
from clients.training.screening.screen import screened, try_out
from clients.training.work import Trainer, worst_case_seconds
from federation.errors import TaskError
from federation.model.task import Dataset, Task, build_task, cross_entropy, is_built_in
from federation.plan.plan import Plan
from privacy.mechanism.noise import Stream
from tests.clients.sites import RUN, SIGNED, make_data, make_plan, make_site, make_terms
from tests.clients.training.habits import Habit, Own, counting, editing, moving, seeding
from tests.clients.units import owned


def bce(outputs: Tensor, labels: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype), reduction="none")


def setting(model: Own, x: Tensor) -> Tensor:
    torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled())
    outputs: Tensor = model.layer(x)
    return outputs


def at(size: int, model: Own, x: Tensor) -> Tensor:
    if len(x) == size:
        raise ValueError("not today")
    outputs: Tensor = model.layer(x)
    return outputs


def normed(model: Own, x: Tensor) -> Tensor:
    return functional.batch_norm(model.layer(x), None, None, training=True)


def exiting(model: Own, x: Tensor) -> Tensor:
    raise SystemExit(3)


LARGEST = 24
HABITS: dict[str, tuple[Habit, int, Any, str]] = {
    "none at all": (partial(at, 0), 2, cross_entropy, r"ValueError \(not today\) on 0 made-up records"),
    "one": (partial(at, 1), 2, cross_entropy, r"ValueError \(not today\) on 1 made-up record;"),
    "two": (partial(at, 2), 2, cross_entropy, r"on 2 made-up records"),
    "the largest": (partial(at, LARGEST), 2, cross_entropy, rf"on {LARGEST} made-up records"),
    "view": (
        lambda m, x: m.layer(x.view(len(x), -1)),
        2,
        cross_entropy,
        r"on 0 made-up records.*flatten\(1\)",
    ),
    "squeeze": (lambda m, x: m.layer(x).squeeze(), 1, bce, "on 1 made-up record;"),
    "squeeze of all": (lambda m, x: m.layer(x).squeeze(), 2, cross_entropy, "on 1 made-up record"),
    "batch norm": (normed, 2, cross_entropy, "on 0 made-up|on 1 made-up|mixes"),
    "mean": (lambda m, x: m.layer(x - x.mean(dim=0)), 2, cross_entropy, "mixes"),
    "count": (lambda m, x: m.layer(x / max(1, len(x))), 2, cross_entropy, "mixes"),
    "mean loss": (lambda m, x: m.layer(x), 2, functional.cross_entropy, "not one number per record"),
    "state": (counting, 2, cross_entropy, "a second call on the same records gives another loss"),
    "edits": (editing, 2, cross_entropy, "edits its inputs"),
    "moves": (moving, 2, cross_entropy, "moves its own parameters"),
    "settings": (setting, 2, cross_entropy, "changes torch's settings"),
    "seed": (seeding, 2, cross_entropy, "seeds torch's generator"),
    "exit": (exiting, 2, cross_entropy, r"SystemExit \(3\)"),
    "float": (lambda m, x: m.layer(x), 2, lambda o, y: 1.5, "not one number per record"),
    "detached": (
        lambda m, x: m.layer(x),
        2,
        lambda o, y: cross_entropy(o, y).detach(),
        "does not require grad",
    ),
}


@pytest.mark.parametrize("name", HABITS)
@pytest.mark.parametrize("unit", ["record", "client"])
def test_code_that_does_wrong_by_made_up_records_is_named(name: str, unit: str) -> None:
    """DP-57"""
    habit, classes, loss, message = HABITS[name]
    task, strict = (
        Task("mine", partial(Own, habit, classes), loss),
        torch.are_deterministic_algorithms_enabled(),
    )
    poisoned = Dataset(torch.full((5, 2), torch.nan), torch.full((5,), 99))  # not read
    with pytest.raises(TaskError, match=f"^mine: .*{message}|{message}") as raised:
        try_out(task, poisoned, make_plan(unit), LARGEST)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2
    assert torch.are_deterministic_algorithms_enabled() == strict


@pytest.mark.parametrize(
    "model",
    [
        Own,
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2)),
        lambda: nn.Sequential(nn.Linear(2, 8), nn.GroupNorm(2, 8), nn.ReLU(inplace=True), nn.Linear(8, 2)),
        lambda: Own(lambda m, x: m.layer(x) if bool((x < 9).all()) else 1 / 0),  # type: ignore[arg-type,return-value]
    ],
)
@pytest.mark.parametrize("unit", ["record", "patient", "client"])
def test_code_that_does_right_by_them_is_left_alone(model: Callable[[], nn.Module], unit: str) -> None:
    state = torch.get_rng_state()
    try_out(Task("mine", model, cross_entropy), owned(make_data(5, 0)), make_plan(unit), LARGEST)
    assert torch.equal(torch.get_rng_state(), state)


def test_built_in_models_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan()
    task = build_task(plan)
    assert is_built_in(task)
    assert is_built_in(build_task(make_plan(model="mlp")))
    assert not is_built_in(Task("mine", Own, cross_entropy))
    assert not is_built_in(Task(task.name, task.model, bce))
    assert not is_built_in(Task(task.name, task.model, task.loss, data=lambda _: make_data(1, 0)))
    monkeypatch.setattr("clients.training.screening.screen.require_fit", None)
    try_out(task, make_data(5, 0), plan, 24)
    trainer = Trainer(task, make_data(5, 0), lambda _: Stream(bytes(32)))
    assert screened(trainer, plan, each_alone=True) is trainer


@pytest.mark.parametrize(
    ("forward", "alone"),
    [
        (lambda m, x: m.layer(x), False),
        (
            lambda m, x: m.layer(torch.where(x > 9, x - x.mean(), x)),
            False,
        ),
        (lambda m, x: m.layer(x - x.mean(dim=0) if x.max() > 9 else x), True),
        (lambda m, x: m.layer(x[x.sum(dim=1) > -99]), True),
        (lambda m, x: m.layer(x * (1 if x.tolist() else 2)), True),
        (lambda m, x: m.layer(x * (x.max().item() > -9)), True),
        (lambda m, x: m.layer(x if len(x) < 3 or x.max() < 9 else x - x.mean(dim=0)), True),
    ],
)
def test_code_whose_path_follows_values_is_run_one_record_at_a_time(forward: Habit, alone: bool) -> None:
    data = make_data(3, 0)
    route = chosen_route(Own(forward).double().train(), cross_entropy, data.features.double(), data.labels)
    assert (route == "alone") == alone


# Real records.


class Picky(nn.Module):
    """Counts the records it sees at a time; raises on one that is large."""

    seen: list[int]

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        sizes.append(len(x))
        if bool((x > 5).any()):
            raise ValueError(f"a reading of {float(x.max())}")
        outputs: Tensor = self.layer(x)
        return outputs


sizes: list[int] = []


@pytest.mark.parametrize("unit", ["record", "patient", "client"])
@pytest.mark.parametrize("each_alone", [True, False])
def test_each_record_is_run_once_before_the_first_round_and_left_out_if_it_raises(
    unit: str, each_alone: bool
) -> None:
    data = owned(make_data(20, 0), torch.arange(20) // 2)
    data.features[[3, 6, 7]] = 40.0
    trainer = Trainer(Task("mine", Picky, cross_entropy), data, lambda _: Stream(bytes(32)), tally=Tally())
    sizes.clear()
    kept = screened(trainer, make_plan(unit), each_alone=each_alone)
    assert len(kept.data) == 17
    assert float(kept.data.features.max()) < 5
    assert kept.data.patients is not None and 3 not in kept.data.patients.tolist()  # both records raised
    assert trainer.tally.raised == 3
    if each_alone:
        assert sizes == [1] * 24  # four to tell how long it takes
    else:
        assert max(sizes) == 20


def test_too_many_records_for_the_deadline_are_run_in_batches() -> None:
    plan = make_plan()
    cohort = plan.cohort.model_copy(update={"deadline_seconds": 1e-9})
    trainer = Trainer(Task("mine", Picky, cross_entropy), make_data(20, 0), lambda _: Stream(bytes(32)))
    sizes.clear()
    screened(trainer, plan.model_copy(update={"cohort": cohort}), each_alone=True)
    assert max(sizes) == 20


def test_a_site_whose_code_fails_on_made_up_records_gets_its_budget_back(tmp_path: Path) -> None:
    plan, read = make_plan(), []

    def load(_: Plan) -> Trainer:
        read.append(1)
        task = Task("mine", partial(Own, lambda m, x: m.layer(x).squeeze()), cross_entropy)
        return Trainer(task, make_data(24, 0), lambda _: Stream(bytes(32)))

    site = make_site(tmp_path, plan, "berlin", 24, load=load)
    for run in (RUN, bytes(16)):  # a second run has room, too
        with pytest.raises(TaskError, match="made-up"):
            site.join(run, plan, SIGNED)
    assert [entry.kind for entry in site.journal.entries()][-2:] == ["reserve", "close"]
    assert site.journal.rounds_begun(RUN.hex()) == 0


# Time.


def test_the_pace_has_room_for_a_few_records_that_begin_to_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    spoils = Tally.spoils

    def spied(tally: Tally, places: Tensor, size: int) -> bool:
        calls.append(len(places))
        return spoils(tally, places, size)

    monkeypatch.setattr(Tally, "spoils", spied)
    plan = make_plan()
    trainer = Trainer(Task("mine", Own, cross_entropy), make_data(40, 0), lambda _: Stream(bytes(32)))
    assert worst_case_seconds(make_terms(plan), "amsterdam", trainer) > 0
    halved = [size for size in calls if size == 20]
    assert len(halved) >= 2  # a batch of 40, taken apart
    assert trainer.tally.raised == 0
    assert Tally(rehearsed=FEW).spoils(torch.arange(40), 40)
    assert not Tally().spoils(torch.arange(40), 40)
