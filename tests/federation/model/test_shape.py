"""What is known of a model of ours without torch is what torch finds."""

from __future__ import annotations

import pytest

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


def test_only_code_of_the_users_own_knows_how_many_it_has() -> None:
    assert known_dimension(plan_of(model="my_package.mine:model")) is None
