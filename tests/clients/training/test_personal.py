"""A personal model is what a site's own steps make of the released one, by torch's own arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from clients.conformance.asked import of_ours
from clients.training.personal import personal_params
from federation.errors import InputError, TaskError, TrainingDiverged
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, Task, build_task
from federation.plan.plan import Plan, parse
from privacy.mechanism.noise import Stream
from tests.clients.sites import make_data
from tests.worlds import text_of

TABLE = "\n[personal]\nsteps = 30\nlearning_rate = 0.2\n"


def planned(table: str = TABLE, **changes: object) -> Plan:
    return parse(text_of(**changes) + table)  # type: ignore[arg-type]


def task_of(data: Dataset) -> Task:
    width = data.features.shape[1]
    return Task(
        "own", lambda: nn.Linear(width, 2), nn.CrossEntropyLoss(reduction="none"), data=lambda _: data
    )


def by_torch(params: Tensor, data: Dataset, pull: float) -> Tensor:
    """Every record in every step, with torch's SGD on the loss and the pull written out."""
    model = nn.Linear(data.features.shape[1], 2)
    Layout.of(model).load(model, params)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(data.features), data.labels)
        flat = torch.cat([part.reshape(-1) for part in model.parameters()])
        (loss + pull / 2 * ((flat - params) ** 2).sum()).backward()
        optimizer.step()
    return Layout.of(model).flatten(model)


@pytest.mark.parametrize("pull", [0.0, 0.5])
def test_it_minimizes_the_site_s_loss_and_the_way_from_the_released_model(pull: float) -> None:
    data = make_data(24, seed=3)
    task = task_of(data)
    params = initial_params(task.model, 1)
    found = personal_params(planned(f"{TABLE}pull = {pull}\n"), task, params, data, Stream(bytes(32)))
    assert torch.allclose(found, by_torch(params, data, pull), atol=1e-5)
    assert found.dtype == torch.float32


def test_a_strong_pull_stays_at_the_released_model_and_no_records_leave_it_as_it_is() -> None:
    data = make_data(24, seed=3)
    task = task_of(data)
    params = initial_params(task.model, 1)

    def moved(table: str, records: Dataset) -> float:
        found = personal_params(planned(table), task, params, records, Stream(bytes(32)))
        return float((found - params).norm())

    free, held = moved(TABLE, data), moved(f"{TABLE}pull = 5.0\n", data)
    assert 0 < held < free / 3
    assert moved(TABLE, data.at(torch.arange(0))) == 0.0


def test_steps_that_end_in_no_number_and_code_that_raises_are_named() -> None:
    data = make_data(24, seed=3)
    task, params = task_of(data), torch.full((2 * data.features.shape[1] + 2,), torch.inf)
    with pytest.raises(TrainingDiverged, match="not finite"):
        personal_params(planned(), task, params, data, Stream(bytes(32)))

    def secret() -> nn.Module:
        raise ValueError("Mr. Smith is 47")

    broken = Task("own", secret, task.loss, data=task.data)
    with pytest.raises(TaskError, match="failed with ValueError") as found:
        personal_params(planned(), broken, params, data, Stream(bytes(32)))
    assert "Smith" not in str(found.value) and found.value.__cause__ is None


def test_a_plan_without_the_table_keeps_its_digest_and_one_with_it_says_so() -> None:
    assert b"personal" not in parse(text_of()).canonical()
    plan = planned(f"{TABLE}pull = 0.5\n", noise="none")
    assert Plan.from_canonical(plan.canonical()) == plan
    assert parse(plan.to_toml()).digest == plan.digest
    assert planned(f"{TABLE}pull = 0\n").digest == planned().digest
    build_task(plan)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("\n[personal]\nsteps = 0\nlearning_rate = 0.2\n", "steps"),
        ("\n[personal]\nsteps = 5\n", "learning_rate"),
        (f"{TABLE}pull = 5.1\n", "pull"),
        (f"{TABLE}pull = nan\n", "pull"),
        (f"{TABLE}lambda = 1\n", "lambda"),
    ],
)
def test_a_table_that_cannot_be_is_refused_by_key(table: str, key: str) -> None:
    with pytest.raises(InputError, match=f"personal.{key}"):
        planned(table)


def test_only_the_named_layers_become_the_site_s_own() -> None:
    data = make_data(24, seed=3)
    width = data.features.shape[1]

    def made() -> nn.Module:
        return nn.Sequential(nn.Linear(width, 3), nn.Tanh(), nn.Linear(3, 2))

    task = Task("own", made, nn.CrossEntropyLoss(reduction="none"), data=lambda _: data)
    params, shared = initial_params(made, 1), 3 * width + 3

    def own(layers: str) -> Tensor:
        return personal_params(planned(f"{TABLE}layers = {layers}\n"), task, params, data, Stream(bytes(32)))

    head = own('["2"]')
    assert torch.equal(head[:shared], params[:shared])  # to the last bit
    assert bool((head[shared:] != params[shared:]).all())
    both, whole = own('["0", "2"]'), personal_params(planned(), task, params, data, Stream(bytes(32)))
    assert torch.equal(both, whole)
    bias = own('["2.bias"]')
    assert torch.equal(bias[:-2], params[:-2]) and not torch.equal(bias, params)
    with pytest.raises(TaskError, match=r'no layer "head"'):
        own('["head"]')
    for layers in ("[]", '[""]', '["2", "2"]'):
        with pytest.raises(InputError, match=r"personal\.layers"):
            planned(f"{TABLE}layers = {layers}\n")


@pytest.mark.parametrize("layers", ['["9"]', '["weight", "wight"]'])
def test_a_plan_with_a_layer_that_the_model_lacks_is_refused_before_anybody_trains(layers: str) -> None:
    plan = planned(f"{TABLE}layers = {layers}\n")
    with pytest.raises(TaskError, match=r"personal\.layers = .*: the model trains no layer"):
        build_task(plan)
    assert of_ours(plan) is None  # so `federation check` has the model made, and tells it
    assert of_ours(planned()) is not None
