"""Kinds of features: what a plan may say of a cell, what is refused and how that reads, and which digest it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.errors import PlanError
from federation.plan.columns.features import Categorical, Hashed, Numeric
from federation.plan.layout import layout
from federation.plan.plan import Plan, parse
from federation.plan.tabular import TabularTask
from tests.plans import TEXT

AGE, CP = "age = { low = 20, high = 90 }", 'cp  = { values = ["1", "2", "3", "4"] }'
DATE = 'date = "%Y-%m-%d", since = "2000-01-01", until = "2030-12-31"'


def plan_with(line: str) -> Plan:
    assert AGE in TEXT
    return parse(TEXT.replace(AGE, line), Path("plan.toml"))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('age = { low = 20, high = 90, missing = "indicator" }', ["age", "age is missing"]),
        ("age = { low = 20, high = 90, missing = 65 }", ["age"]),
        (
            'age = { values = ["a", "b"], other = true, missing = "category" }',
            ["age = a", "age = b", "age is another", "age is missing"],
        ),
        ('age = { values = ["a", "?"], missing = "?" }', ["age = a", "age = ?"]),
        (
            'age = { hash = 2, missing = "category" }',
            ["age (hash 1 of 2)", "age (hash 2 of 2)", "age is missing"],
        ),
        (f'age = {{ {DATE}, missing = "indicator" }}', ["age (days)", "age is missing"]),
        (
            f'age = {{ {DATE}, take = ["weekday", "days"] }}',
            ["age (days)", "age (weekday = Monday)", "age (weekday = Tuesday)", "age (weekday = Wednesday)",
             "age (weekday = Thursday)", "age (weekday = Friday)", "age (weekday = Saturday)",
             "age (weekday = Sunday)"],
        ),
        (
            f'age = {{ {DATE}, take = ["month"] }}',
            [f"age (month = {month})" for month in range(1, 13)],
        ),
    ],
    ids=["indicator", "number", "all", "value", "hash", "days", "weekday", "month"],
)  # fmt: skip
def test_every_rule_has_its_columns_and_comes_back_from_canonical_bytes(line: str, names: list[str]) -> None:
    plan = plan_with(line)
    assert isinstance(plan.task, TabularTask)
    assert [column.name for column in layout(plan.task)][: len(names)] == names
    assert len(layout(plan.task)) == plan.task.inputs == len(names) + 4
    assert Plan.from_canonical(plan.canonical()).digest == plan.digest != parse(TEXT).digest
    assert parse(plan.to_toml()).digest == plan.digest


@pytest.mark.parametrize(
    ("line", "same"),
    [
        ('age = { low = 20, high = 90, missing = "refuse", scale = "linear" }', AGE),
        (CP.replace(" }", ', missing = "refuse", other = false }'), CP),
    ],
    ids=["numbers", "values"],
)
def test_what_is_usual_may_be_said_and_changes_no_digest(line: str, same: str) -> None:
    assert parse(TEXT.replace(same, line)).digest == parse(TEXT).digest


def test_dates_of_toml_are_the_texts_that_they_are() -> None:
    bare = plan_with('age = { date = "%Y-%m-%d", since = 2000-01-01, until = 2030-12-31 }')
    assert bare.digest == plan_with(f"age = {{ {DATE} }}").digest


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ('low = 20, high = 90, missing = "NA"', 'missing = "NA": must be "refuse", "indicator" or a number'),
        ("low = 20, high = 90, missing = true", "missing = true: must be"),
        ('low = 20, high = 90, missing = "category"', 'must be "refuse", "indicator" or a number'),
        ("low = 20, high = 90, missing = 99", "missing = 99: is not between low and high"),
        (
            'low = 0, high = 90, scale = "log"',
            "there is no logarithm of 0 and below, where low is; raise low, or",
        ),
        ('low = -5, high = 90, scale = "log"', 'write scale = "symlog"'),
        ('low = 1e15, high = 1000000000000000.1, scale = "log"', "leaves no room between low and high"),
        ('low = 20, high = 90, scale = "root"', "scale"),
        ("low = 20, high = 90, other = true", "other = true: unknown key"),
        ('values = ["a"], missing = "indicator"', 'must be "refuse", "category" or one of the values'),
        ('values = ["a"], missing = "b"', 'must be "refuse", "category" or one of the values'),
        ("hash = 1", "hash = 1: must be at least 2"),
        ("hash = 100000", "must be at most 65536"),
        ("hash = 2, other = true", "unknown key"),
        ('hash = 2, missing = "E11"', 'must be "refuse" or "category"'),
        (
            'date = "%d.%m.%y", since = "2000-01-01", until = "2001-01-01"',
            "must hold %Y, %m and %d once each",
        ),
        ('date = "%Y-%m-%d", since = "1.1.2000", until = "2001-01-01"', "is no date; write it like"),
        ('date = "%Y-%m-%d", since = "2001-01-01", until = "2000-01-01"', "since must be before until"),
        ('date = "%Y-%m-%d", since = "indicator", until = "2000-01-01"', "since must be before until"),
        (f"{DATE}, take = []", "must name each part once, and at least one"),
        (f'{DATE}, take = ["days", "days"]', "must name each part once"),
        (f'{DATE}, missing = "1999-12-31"', "is not between since and until"),
        (f'{DATE}, missing = "NA"', "is no date"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_in_one_line(shape: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan_with(f"age = {{ {shape} }}")
    line = str(caught.value)
    assert said in line and line.startswith("plan.toml") and "\n" not in line and "; " in line


def test_zero_and_below_are_on_the_symmetric_scale() -> None:
    assert plan_with('age = { low = -90, high = 90, scale = "symlog" }').is_private


def test_a_code_is_in_the_same_column_for_ever() -> None:
    """A change of these numbers would give other inputs to models of the same digest."""
    diagnosis = Hashed(name="diag_1", hash=64)
    assert [diagnosis.place_of(code) for code in ("250.83", "250.8", "E11.9", "e11.9", "")] == PLACES
    assert Hashed(name="diag_2", hash=64).place_of("250.83") != diagnosis.place_of("250.83")


def test_a_value_called_as_a_rule_is_the_rule() -> None:
    feature = Categorical(name="x", values=("category", "a"), missing="category")
    assert feature.parts == ("= category", "= a", "is missing")
    assert Numeric(name="x", low=0, high=1).parts == ("",)


PLACES = [43, 10, 25, 47, 17]
