"""The columns of the model's input, in order, each with a name that people can read."""

from __future__ import annotations

from dataclasses import dataclass

from federation.plan.tabular import TabularTask


@dataclass(frozen=True)
class Column:
    """One column of the input: which feature it is of, and what of it. `part` is empty where it is the feature.

    >>> Column("age", "").name, Column("cp", "= 4").name
    ('age', 'cp = 4')
    """

    feature: str
    part: str

    @property
    def name(self) -> str:
        """As people read it."""
        return f"{self.feature} {self.part}" if self.part else self.feature


def layout(task: TabularTask) -> tuple[Column, ...]:
    """The columns of the input of this task's model."""
    return tuple(Column(feature.name, part) for feature in task.features for part in feature.parts)
