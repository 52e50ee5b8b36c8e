"""What a published evaluation adds up where no class is predicted: bounded sums, from the plan alone.

**Of a number, or a count**, everything is in units of half its range: e is what is predicted less what was
observed, z the target on [-1, 1]. An error of more than half the range counts as half of it, which makes sums half
as noisy for what no model that is worth publishing should do. A record adds

    1, e, |e|, e^2, e^4, and z, z^2 of a number; D, D^2 of a count     none of them longer than 1
    where the plan says `bins`: 1, e and e^2 to the bin of what is predicted

each times a weight of its own, so that what is small (a squared error) has less noise, and what only divides, or
tells of chance, more. D is the deviance of a count over DEVIANCE, and at most 1. Sums rather than a histogram of
predicted x observed: the noise of a mean error is that of one number and not that of every cell, each times its
error.

**Of a time**, a record adds a 1 to the cell of its score's bin and its label, of which ranks are read, and the
censoring that Brier scores are weighed by. Where the plan names a Brier score, with B intervals and S_j what is
said of the chance to come through interval j, it adds what squared errors are made of, over sqrt(B), so that all B
of them are 1 long:

    for an event in interval q     S_j^2 at (q, j) for every j >= q
    for who came through q         (1 - S_j)^2 at j for every j < q
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from federation.kinds.blocks import Blocks, Group

DEVIANCE = 8.0
"""The deviance of a record from which on it counts as this one: of Poisson's counts one in 200 has more."""
SUMS = 7
"""How many numbers there are without bins."""
_OF_NUMBERS = (0.75, 0.75, 1.0, 1.5, 0.5, 0.75, 1.5)
_OF_COUNTS = (0.75, 0.75, 1.0, 1.0, 0.5, 1.5, 0.5)
_OF_BINS = (0.75, 1.0, 0.5)
TIME_BINS = 10
"""Of scores, where the plan says none."""


@dataclass(frozen=True)
class Numbers(Blocks):
    """A number from `low` to `high`; with `bins`, its errors also by what is predicted."""

    low: float
    high: float
    bins: int
    groups: tuple[Group, ...]
    is_count: bool = False
    is_signed: ClassVar[bool] = True

    @property
    def half(self) -> float:
        """What 1 stands for."""
        return self.high / 2 - self.low / 2

    @property
    def middle(self) -> float:
        """What 0 stands for."""
        return self.high / 2 + self.low / 2

    @property
    def block(self) -> int:
        """The sums, then by bin the records, then the errors, then their squares."""
        return SUMS + 3 * self.bins

    @property
    def weights(self) -> tuple[float, ...]:
        """Of each number: it is at most so large."""
        first = _OF_COUNTS if self.is_count else _OF_NUMBERS
        return (*first, *(weight for weight in _OF_BINS for _ in range(self.bins)))

    @property
    def reach(self) -> float:
        """No number of the first ones is above its weight, and one bin has three more."""
        most = [*self.weights[:SUMS], *(_OF_BINS if self.bins else ())]
        return math.sqrt(math.fsum(one * one for one in most))

    @property
    def edges(self) -> tuple[float, ...]:
        """The inner ends of the bins, on [-1, 1]; at an end it is in the bin above."""
        return tuple(2 * place / self.bins - 1 for place in range(1, self.bins))


@dataclass(frozen=True)
class Times(Blocks):
    """Intervals with public `ends`; a score is the mean of the chances said to come through each, on [0, 1]."""

    ends: tuple[float, ...]
    bins: int
    has_brier: bool
    groups: tuple[Group, ...]

    @property
    def labels(self) -> int:
        """How many there are: twice the intervals come through, and 1 more for an event in the next."""
        return 2 * len(self.ends) + 1

    @property
    def cells(self) -> int:
        """Score bin by score bin, label by label."""
        return self.bins * self.labels

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The intervals (q, j) of an event and of a horizon no earlier, in their order."""
        count = len(self.ends) if self.has_brier else 0
        return tuple((event, until) for event in range(count) for until in range(event, count))

    @property
    def block(self) -> int:
        """The cells, then what squared errors are made of: of events, then of who came through."""
        return self.cells + len(self.pairs) + (len(self.ends) if self.has_brier else 0)

    @property
    def reach(self) -> float:
        """One cell, and all squared errors together as much."""
        return math.sqrt(1 + self.has_brier)

    @property
    def edges(self) -> tuple[float, ...]:
        """The inner ends of the bins; a score at an end is in the bin above."""
        return tuple(place / self.bins for place in range(1, self.bins))
