"""Weights of classes and a threshold in a plan: public, in the digest, refused where they mean nothing."""

from __future__ import annotations

import pytest

from federation.errors import InputError
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from tests.plans import text_of


def plan_with(weights: str, classes: str = '["0", "1"]') -> Plan:
    text = text_of().replace('classes = ["0", "1"]', f"classes = {classes}\nclass_weights = {weights}")
    assert "class_weights" in text
    return parse(text)


def shares_of(plan: Plan) -> tuple[float, ...]:
    assert isinstance(plan.task, TabularTask)
    return plan.task.shares


@pytest.mark.parametrize(
    ("weights", "classes", "expected"),
    [
        ('{ "1" = 5.0 }', '["0", "1"]', (0.2, 1.0)),
        ('{ "1" = 5 }', '["0", "1"]', (0.2, 1.0)),
        ('{ "0" = 0.25 }', '["0", "1"]', (0.25, 1.0)),
        ('{ "0" = 2, "2" = 8 }', '["0", "1", "2"]', (0.25, 0.125, 1.0)),
    ],
)
def test_a_class_counts_its_weight_over_the_largest(
    weights: str, classes: str, expected: tuple[float, ...]
) -> None:
    assert shares_of(plan_with(weights, classes)) == expected


def test_weights_are_in_the_digest_and_no_plan_without_them_changes_its_own() -> None:
    without, five, six = parse(text_of()), plan_with('{ "1" = 5.0 }'), plan_with('{ "1" = 6.0 }')
    assert len({without.digest, five.digest, six.digest}) == 3
    assert b"class_weights" not in without.canonical()
    assert b"threshold" not in without.canonical()
    assert five.digest == plan_with('{ "1" = 5 }').digest
    assert plan_with('{ "0" = 2, "1" = 3 }').digest == plan_with('{ "1" = 3, "0" = 2 }').digest
    for plan in (five, six):
        assert Plan.from_canonical(plan.canonical()) == plan
        assert parse(plan.to_toml()).digest == plan.digest


@pytest.mark.parametrize(
    ("weights", "key"),
    [
        ("{}", "task.class_weights"),
        ('{ "2" = 5.0 }', "task.class_weights.2"),
        ('{ "1" = 0 }', "task.class_weights.1"),
        ('{ "1" = -1.0 }', "task.class_weights.1"),
        ('{ "1" = 1e7 }', "task.class_weights.1"),
        ('{ "1" = nan }', "task.class_weights"),
        ('{ "1" = inf }', "task.class_weights"),
        ('{ "1" = "5" }', "task.class_weights"),
        ('{ "1" = true }', "task.class_weights"),
        ("5.0", "task.class_weights"),
    ],
)
def test_weights_that_mean_nothing_are_refused_at_their_line(weights: str, key: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_with(weights)
    assert caught.value.key == key
    assert caught.value.line is not None


@pytest.mark.parametrize("value", ["0", "1", "-0.1", "1.5", "nan", '"0.5"', "true"])
def test_a_threshold_is_between_0_and_1(value: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text_of().replace("[evaluation]", f"[evaluation]\nthreshold = {value}"))
    assert caught.value.key == "evaluation.threshold"


def test_a_threshold_is_in_the_digest() -> None:
    texts = [text_of(), *(text_of({"evaluation.threshold": value}) for value in (0.5, 0.4))]
    assert len({parse(text).digest for text in texts}) == 3


@pytest.mark.parametrize("name", ["ks", "calibration", "recall_at_10"])
def test_what_needs_two_classes_is_refused_for_three(name: str) -> None:
    three: dict[str, object] = {"task.classes": ["0", "1", "2"]}
    assert parse(text_of({"evaluation.metrics": [name]})).evaluation.metrics == (name,)
    for asked, key in ({"metrics": [name]}, "metrics"), ({"threshold": 0.5}, "threshold"):
        with pytest.raises(InputError, match="two classes") as caught:
            parse(text_of(three | {f"evaluation.{one}": value for one, value in asked.items()}))
        assert caught.value.key == f"evaluation.{key}"


@pytest.mark.parametrize("name", ["recall_at_0", "recall_at_100", "recall_at_", "specifity"])
def test_a_name_that_is_no_metric_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="is unknown"):
        parse(text_of({"evaluation.metrics": [name]}))
