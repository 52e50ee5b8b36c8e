"""Classes that join several values of the target: public, in the digest, refused where they mean nothing."""

from __future__ import annotations

import pytest

from federation.errors import InputError
from federation.plan.plan import Plan, parse
from federation.plan.tasks import Classification
from tests.plans import text_of


def plan_with(classes: str, grouped: str, more: str = "") -> Plan:
    text = text_of().replace('classes = ["0", "1"]', f"classes = {classes}\ngrouped = {grouped}\n{more}")
    assert "grouped" in text
    return parse(text)


def test_a_class_has_the_values_of_its_group_and_one_without_a_group_is_its_own_value() -> None:
    task = plan_with('["0", "ill"]', "{ ill = [1, 2, 3, 4] }", 'class_weights = { "ill" = 2.0 }').task
    assert isinstance(task, Classification)
    assert task.values == (("0", "1", "2", "3", "4"), (0, 1, 1, 1, 1))
    assert task.shares == (0.5, 1.0)
    assert task.outcome.count == 2
    # A group may go on under the name of one of its values.
    named = plan_with('["0", "1"]', '{ "1" = ["1", "2"] }').task
    assert isinstance(named, Classification)
    assert named.values == (("0", "1", "2"), (0, 1, 1))


def test_groups_are_in_the_digest_and_no_plan_without_them_changes_its_own() -> None:
    without = parse(text_of())
    two, three = (
        plan_with('["0", "1"]', '{ "1" = ["1", "2"] }'),
        plan_with('["0", "1"]', '{ "1" = ["1", "3"] }'),
    )
    assert len({without.digest, two.digest, three.digest}) == 3
    assert b"grouped" not in without.canonical()
    for plan in (two, three):
        assert Plan.from_canonical(plan.canonical()) == plan
        assert parse(plan.to_toml()).digest == plan.digest


@pytest.mark.parametrize(
    ("classes", "grouped", "key"),
    [
        ('["0", "1"]', "{}", "task.grouped"),
        ('["0", "1"]', '{ ill = ["2"] }', "task.grouped.ill"),
        ('["0", "ill"]', "{ ill = [] }", "task.grouped.ill"),
        ('["0", "ill"]', '{ ill = ["0", "1"] }', "task.grouped.ill"),
        ('["0", "1"]', '{ "0" = ["1"], "1" = ["2"] }', "task.grouped.0"),
        ('["well", "ill"]', '{ well = ["0", "1"], ill = ["1", "2"] }', "task.grouped"),
        ('["0", "ill"]', '{ ill = ["1", "1.0"] }', "task.grouped"),
        ('["0", "ill"]', '{ ill = "1" }', "task.grouped"),
        ('["0", "ill"]', '["1"]', "task.grouped"),
    ],
)
def test_groups_that_mean_nothing_are_refused_at_their_line(classes: str, grouped: str, key: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_with(classes, grouped)
    assert caught.value.key == key
    assert caught.value.line is not None
