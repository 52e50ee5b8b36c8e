"""The cells of a noised histogram: score bin x class x group, all public, from the plan alone.

A record stands in one cell of each table: one table for each column that `evaluation.groups` names, or one over
everybody. All tables are one vector, published together, and a record's part of it has one 1 in each: it is
sqrt(tables) long, and so at most is the mean of several records' parts, which is what a patient counts with. Tables
side by side move less than a table of all groups crossed would have cells.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

from federation.config.tables import Rules

CLASSES = 2
BINS = 20  # where the plan names groups and no bins
MIDDLE = 0.5  # the threshold where the plan names none
MOST_CELLS = 2**14


@dataclass(frozen=True)
class Group:
    """A column whose values are told apart. `parts` are the values as people read them, in the input's order."""

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Cells:
    """`edges` are the inner ones of the score's bins, ascending; a score at an edge is in the bin above it."""

    edges: tuple[float, ...]
    threshold: float
    groups: tuple[Group, ...]

    @property
    def bins(self) -> int:
        """How many bins a score can be in."""
        return len(self.edges) + 1

    @property
    def block(self) -> int:
        """How many cells one group has: class by class, bin by bin."""
        return CLASSES * self.bins

    @property
    def tables(self) -> tuple[Group, ...]:
        """One for each column of groups, or one over everybody."""
        return self.groups or (Group("", ("",)),)

    @property
    def length(self) -> int:
        """How many cells there are."""
        return self.block * sum(len(table.parts) for table in self.tables)

    @property
    def norm(self) -> float:
        """How long the part of one record, or patient, is at most."""
        return math.sqrt(len(self.tables))

    @property
    def answered(self) -> int:
        """The first bin of scores that are at the threshold or above: the threshold is an edge."""
        return bisect_right(self.edges, self.threshold)

    @property
    def halves(self) -> float:
        """The variance of the noise on the number of right answers, and on that of wrong ones, over a cell's.

        Each table has the right answers in half of its cells; the number is the mean over the tables.
        """
        return self.shared * self.block / CLASSES

    @property
    def shared(self) -> float:
        """The variance of the noise on a cell of everybody, over that on a cell of a group."""
        return sum(len(table.parts) for table in self.tables) / len(self.tables) ** 2


def cells_of(rules: Rules) -> Cells | None:
    """The cells that a plan's evaluation counts in; None where it counts right and wrong answers only."""
    bins, names = rules.evaluation.bins, rules.evaluation.groups or ()
    if bins is None and not names:
        return None
    threshold = rules.evaluation.threshold or MIDDLE
    inner = {place / (bins or BINS) for place in range(1, bins or BINS)}
    parts = {feature.name: tuple(map(str, feature.parts)) for feature in rules.task.features}
    groups = tuple(Group(name, parts[name]) for name in names)
    return Cells(tuple(sorted(inner | {threshold})), threshold, groups)
