"""What a plan predicts: every kind survives its canonical form, and a mistake is told at its key."""

from __future__ import annotations

import pytest

from federation.errors import PlanError
from federation.plan.outcomes import Survival
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from tests.outcomes import COUNTS, EXPOSED, KINDS, REGRESSION, SURVIVAL, but
from tests.plans import Changes, plan_of


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_plan_of_every_kind_is_the_same_after_both_of_its_forms(kind: Changes) -> None:
    plan = plan_of(kind)
    assert Plan.from_canonical(plan.canonical()) == plan
    assert parse(plan.to_toml()).digest == plan.digest


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_plan_that_names_no_metrics_has_those_of_its_kind(kind: Changes) -> None:
    plan = plan_of(kind)
    assert isinstance(plan.task, TabularTask)
    assert plan.evaluation.metrics == plan.task.outcome.usual
    assert set(plan.task.outcome.usual) <= set(plan.task.outcome.metrics)
    without = plan_of(kind, {"evaluation": None})
    assert without.evaluation.metrics == plan.evaluation.metrics


def test_what_is_learned_and_not_how_it_is_judged_is_in_the_digest() -> None:
    others = [but(SURVIVAL, bins=[30, 90]), but(SURVIVAL, events=["1", "0"]), but(REGRESSION, huber=5.0)]
    others += [but(REGRESSION, target_range={"low": 0, "high": 351}), but(COUNTS, most=13), EXPOSED]
    plans = [plan_of(kind) for kind in (REGRESSION, SURVIVAL, COUNTS, *others)]
    assert len({plan.digest for plan in plans}) == len(plans)


def test_a_loss_that_is_the_usual_one_changes_no_digest() -> None:
    usual = {plan_of().digest, *(plan_of({"task.loss": name}).digest for name in ("cross-entropy", "bce"))}
    hinge = plan_of({"task.loss": "hinge"})
    assert usual == {plan_of().digest}
    assert hinge.digest not in usual
    assert b"loss" not in plan_of().canonical()
    assert parse(hinge.to_toml()).digest == hinge.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task.loss": "mse"}, "task.loss"),
        ({"task.loss": "bce", "task.classes": ["0", "1", "2"]}, "is of two classes"),
        ({"task.loss": "hinge", "evaluation.metrics": ["brier"]}, "a hinge loss learns none"),
        ({"task.loss": "hinge", "evaluation.threshold": 0.3}, "a hinge loss learns none"),
        (but(REGRESSION, loss="hinge"), "task.loss"),
    ],
)
def test_a_loss_that_is_not_for_a_task_is_told(changes: Changes, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        plan_of(changes)


WRONG = {
    "kind": (but(REGRESSION, kind="regression"), "task.kind"),
    "range": (but(REGRESSION, target_range={"low": 5, "high": 5}), "task.target_range"),
    "no range": (but(REGRESSION, target_range=None), "task.target_range"),
    "huber": (but(REGRESSION, huber=0), "task.huber"),
    "model of classes": (but(REGRESSION, model="logistic"), "task.model"),
    "classes": (but(REGRESSION, classes=["0", "1"]), "task.classes"),
    "falling bins": (but(SURVIVAL, bins=[90, 30]), "task.bins"),
    "bins from zero": (but(SURVIVAL, bins=[0, 30]), "task.bins"),
    "no bins": (but(SURVIVAL, bins=[]), "task.bins"),
    "bins of text": (but(SURVIVAL, bins=["30"]), "task.bins"),
    "three events": (but(SURVIVAL, events=["0", "1", "2"]), "task.events"),
    "event is target": (but(SURVIVAL, event="days"), "task.event"),
    "event is feature": (but(SURVIVAL, event="age"), "task.features.age"),
    "cap": (but(COUNTS, most=0), "task.most"),
    "exposure is feature": (but(EXPOSED, exposure="age "), "task.features.age"),
    "metric of classes": ({**REGRESSION, "evaluation.metrics": ["auc"]}, "evaluation.metrics"),
    "no such horizon": ({**SURVIVAL, "evaluation.metrics": ["brier_at_31"]}, "evaluation.metrics"),
    "bins not paid for": ({**REGRESSION, "evaluation.bins": 5}, "evaluation.bins"),
    "no such group": (
        {**COUNTS, "evaluation.epsilon": 0.5, "evaluation.groups": ["age"]},
        "evaluation.groups",
    ),
    "too many sums": (
        {**but(SURVIVAL, bins=[*range(1, 200)]), "evaluation.epsilon": 0.5},
        "evaluation.epsilon",
    ),
}


@pytest.mark.parametrize(("kind", "key"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_told_at_its_key(kind: Changes, key: str) -> None:
    with pytest.raises(PlanError) as error:
        plan_of(kind)
    assert error.value.key == key
    assert error.value.hint


def test_horizons_are_named_by_the_ends_of_bins() -> None:
    assert Survival((30.0, 90.5)).horizons == {"brier_at_30": 0, "brier_at_90.5": 1}
    plan = plan_of({**SURVIVAL, "evaluation.metrics": ["brier_at_90", "c_index"]})
    assert plan.evaluation.metrics == ("brier_at_90", "c_index")
