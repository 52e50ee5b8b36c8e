"""What is known of a model of ours without torch is what torch finds."""

from __future__ import annotations

import pytest
import torch

from federation.model.params import Layout
from federation.model.shape import known_dimension
from federation.model.task import build_task
from federation.plan.tabular import CNN
from federation.plan.tasks import Classification
from tests.outcomes import KINDS, but
from tests.plans import Changes, plan_of


@pytest.mark.parametrize("model", [model for model in Classification.models if model != CNN])
@pytest.mark.parametrize("classes", [2, 5])
def test_the_number_of_parameters_of_every_built_in_model_is_known(model: str, classes: int) -> None:
    plan = plan_of(model=model, classes=[f"class {number}" for number in range(classes)])
    assert known_dimension(plan) == Layout.of(build_task(plan).model()).dimension


@pytest.mark.parametrize("model", [None, "mlp"], ids=["first", "mlp"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_that_of_a_model_of_every_other_outcome_is_known(kind: Changes, model: str | None) -> None:
    plan = plan_of(kind if model is None else but(kind, model=model))
    assert known_dimension(plan) == Layout.of(build_task(plan).model()).dimension


def test_a_network_of_images_has_one_score_for_all_intervals_of_time() -> None:
    scan = {"image": "pixels", "height": 9, "width": 12, "channels": 3, "low": 0, "high": 255}
    shown = {"age": {"low": 20, "high": 90}, "scan": scan}
    plan = plan_of(but(KINDS["survival"], model=CNN), {"task.features": shown})
    model = build_task(plan).model()
    assert known_dimension(plan) == Layout.of(model).dimension
    hazards = model(torch.rand(5, 1 + 9 * 12 * 3, generator=torch.Generator().manual_seed(1)))
    assert torch.allclose(
        hazards - hazards[:, :1], (hazards - hazards[:, :1])[:1].expand_as(hazards), atol=1e-6
    )
    assert not torch.allclose(hazards[0], hazards[1])


def test_only_code_of_the_users_own_knows_how_many_it_has() -> None:
    assert known_dimension(plan_of(model="my_package.mine:model")) is None
