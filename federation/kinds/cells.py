"""What a published evaluation adds up, from the plan alone: the cells of a noised histogram, or bounded sums.

A record adds to one block of each table: one table for each column that `evaluation.groups` names, or one over
everybody, with a block for each of its values. All tables are one vector, published together. What a record adds to
a block is `reach` long at most, so its part of the vector is sqrt(tables) times that, and so at most is the mean of
several records' parts, which is what a patient counts with. Tables side by side move less than a table of all groups
crossed would have cells.

Of two classes a block is score bin x class, and a record adds one 1 to it. Blocks of what is no class are in
`federation.kinds.moments`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from typing import ClassVar

from federation.config.tables import Evaluation, Rules

CLASSES = 2
BINS = 20  # where the plan names groups and no bins
MIDDLE = 0.5  # the threshold where the plan names none
MOST_CELLS = 2**14


@dataclass(frozen=True)
class Group:
    """A column whose values are told apart. `parts` are the values as people read them, in the input's order."""

    name: str
    parts: tuple[str, ...]


class Blocks(ABC):
    """Tables of blocks that are published together as one vector."""

    groups: tuple[Group, ...]
    is_signed: ClassVar[bool] = False
    """Whether a record can add less than 0 to a number."""

    @property
    @abstractmethod
    def block(self) -> int:
        """How many numbers a block has."""

    @property
    @abstractmethod
    def reach(self) -> float:
        """How long what one record adds to a block is at most."""

    @property
    def tables(self) -> tuple[Group, ...]:
        """One for each column of groups, or one over everybody."""
        return self.groups or (Group("", ("",)),)

    @property
    def length(self) -> int:
        """How many numbers there are."""
        return self.block * sum(len(table.parts) for table in self.tables)

    @property
    def norm(self) -> float:
        """How long the part of one record, or patient, is at most."""
        return self.reach * math.sqrt(len(self.tables))

    @property
    def shared(self) -> float:
        """The variance of the noise on a number of everybody, over that on one of a group.

        Everybody is the mean over the tables of the sum over their blocks.
        """
        return sum(len(table.parts) for table in self.tables) / len(self.tables) ** 2


@dataclass(frozen=True)
class Cells(Blocks):
    """`edges` are the inner ones of the score's bins, ascending; a score at an edge is in the bin above it.

    `shares`: of recall among the highest scores, in percent, as far as the plan asks for it.
    """

    edges: tuple[float, ...]
    threshold: float
    groups: tuple[Group, ...]
    shares: tuple[int, ...] = ()

    @property
    def bins(self) -> int:
        """How many bins a score can be in."""
        return len(self.edges) + 1

    @property
    def block(self) -> int:
        """How many cells one group has: class by class, bin by bin."""
        return CLASSES * self.bins

    @property
    def reach(self) -> float:
        """A record is in one cell."""
        return 1.0

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


def cells_of_classes(asked: Evaluation, groups: tuple[Group, ...], shares: tuple[int, ...]) -> Cells | None:
    """The cells of two classes; None where right and wrong answers alone are counted."""
    if asked.bins is None and not groups:
        return None
    bins, threshold = asked.bins or BINS, asked.threshold or MIDDLE
    inner = {place / bins for place in range(1, bins)}
    return Cells(tuple(sorted(inner | {threshold})), threshold, groups, shares)


def blocks_of(rules: Rules) -> Blocks | None:
    """What a plan's evaluation adds up; None where it counts right and wrong answers only."""
    if isinstance(rules.task, str):
        return None
    parts = {feature.name: tuple(map(str, feature.parts)) for feature in rules.task.features}
    groups = tuple(Group(name, parts[name]) for name in rules.evaluation.groups or ())
    found: Blocks | None = rules.task.outcome.blocks(rules.evaluation, groups)
    return found


def cells_of(rules: Rules) -> Cells | None:
    """The same where it is a histogram of two classes' scores."""
    blocks = blocks_of(rules)
    return blocks if isinstance(blocks, Cells) else None
