"""The layout of the input: a readable name for every column, in the order in which cells are encoded."""

from __future__ import annotations

from federation.plan.layout import Column, layout
from federation.plan.plan import parse
from federation.plan.tabular import TabularTask
from tests.plans import TEXT


def test_every_input_has_a_name_that_people_can_read() -> None:
    task = parse(TEXT).task
    assert isinstance(task, TabularTask)
    columns = layout(task)
    assert columns[:2] == (Column("age", ""), Column("cp", "= 1"))
    assert [column.name for column in columns] == ["age", "cp = 1", "cp = 2", "cp = 3", "cp = 4"]
    assert len(columns) == task.inputs
