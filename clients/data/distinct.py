"""The different cells of a column, each looked at once, and what was found given back to every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients.data.faults import Fault, collected

Said = tuple[str, str]
"""What is wrong with a cell, and what to do."""


@dataclass(frozen=True)
class Distinct:
    """The different `cells` of a column, and which of them each row holds: `rows` (n,)."""

    cells: tuple[str, ...] = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)

    @classmethod
    def of(cls, cells: Sequence[str]) -> Distinct:
        """Those of a column."""
        number = {cell: place for place, cell in enumerate(dict.fromkeys(cells))}
        rows = np.fromiter(map(number.__getitem__, cells), np.int64, len(cells))
        return cls(tuple(number), rows)

    def where(self, holds: Callable[[str], bool]) -> NDArray[np.bool_]:
        """The rows whose cell is such a one."""
        return np.fromiter(map(holds, self.cells), np.bool_, len(self.cells))[self.rows]

    def faults(
        self,
        column: str,
        said: Callable[[str], Said],
        wrong: NDArray[np.bool_],
        lines: NDArray[np.int64] | None = None,
    ) -> tuple[Fault, ...]:
        """What is said of the cells that are wrong, (n,), by row; `lines`: theirs, if these are some of all."""
        rows = np.flatnonzero(wrong)
        told = {place: said(self.cells[place]) for place in np.unique(self.rows[rows]).tolist()}
        lines = rows if lines is None else lines[rows]
        which = self.rows[rows].tolist()
        return collected(column, ((line, told[at]) for line, at in zip(lines.tolist(), which, strict=True)))
