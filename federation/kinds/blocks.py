"""Blocks of numbers that a published evaluation adds up: one for each group, all of them one vector.

A record adds to one block of each table: one table for each column that `evaluation.groups` names, or one over
everybody, with a block for each of its values. What a record adds to a block is `reach` long at most, so its part
of the vector is sqrt(tables) times that, and so at most is the mean of several records' parts, which is what a
patient counts with. Tables side by side move less than a table of all groups crossed would have cells.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


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
