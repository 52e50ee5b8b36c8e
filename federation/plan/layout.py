"""The columns of the model's input, in order, each with a name that people can read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from federation.plan.tabular import TabularTask


@dataclass(frozen=True)
class Column:
    """One column of the input: which feature it is of, and what of it. `part` is empty where it is the feature.

    `times` is the column of another feature that it is multiplied by, in a cross. `back`: so many rows before the
    last one of a record, where it is a window of several.

    >>> Column("age", "").name, Column("cp", "= 4").name, Column("age", "", Column("sex", "= F")).name
    ('age', 'cp = 4', 'age x sex = F')
    """

    feature: str
    part: str
    times: Column | None = None
    back: int = 0

    @property
    def name(self) -> str:
        """As people read it."""
        own = f"{self.feature} {self.part}" if self.part else self.feature
        whole = own if self.times is None else f"{own} x {self.times.name}"
        return f"{whole} ({self.back} before)" if self.back else whole


def layout(task: TabularTask) -> tuple[Column, ...]:
    """The columns of the input of this task's model: those of the features, then those of the crosses."""
    of = {feature.name: [Column(feature.name, part) for part in feature.parts] for feature in task.features}
    crossed = [
        Column(column.feature, column.part, other)
        for first, second in task.cross or ()
        for column in of[first]
        for other in of[second]
    ]
    row = (*(column for columns in of.values() for column in columns), *crossed)
    return tuple(replace(column, back=back) for back in reversed(range(task.steps)) for column in row)
