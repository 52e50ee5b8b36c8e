"""What a published evaluation adds up, from the plan alone: the cells of a noised histogram, or bounded sums.

Of two classes a block (`federation.kinds.blocks`) is score bin x class, and a record adds one 1 to it. Blocks of
what is no class are in `federation.kinds.moments`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TypeAlias

from federation.config.tables import Evaluation, Rules
from federation.kinds.blocks import Blocks, Group
from federation.kinds.moments import Numbers, Times

CLASSES = 2
BINS = 20  # where the plan names groups and no bins
MIDDLE = 0.5  # the threshold where the plan names none
MOST_CELLS = 2**14


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


Summed: TypeAlias = Cells | Numbers | Times


def cells_of_classes(asked: Evaluation, groups: tuple[Group, ...], shares: tuple[int, ...]) -> Cells | None:
    """The cells of two classes; None where right and wrong answers alone are counted."""
    if asked.bins is None and not groups:
        return None
    bins, threshold = asked.bins or BINS, asked.threshold or MIDDLE
    inner = {place / bins for place in range(1, bins)}
    return Cells(tuple(sorted(inner | {threshold})), threshold, groups, shares)


def blocks_of(rules: Rules) -> Summed | None:
    """What a plan's evaluation adds up; None where it counts right and wrong answers only."""
    if isinstance(rules.task, str):
        return None
    parts = {feature.name: tuple(map(str, feature.parts)) for feature in rules.task.features}
    groups = tuple(Group(name, parts[name]) for name in rules.evaluation.groups or ())
    found: Summed | None = rules.task.outcome.blocks(rules.evaluation, groups)
    return found
