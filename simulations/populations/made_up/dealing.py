"""Made-up rows as the files of sites: who is at which site, and whose rows are kept for the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulations.populations.drawing import Draws, Floats, Places
from simulations.populations.writing import write_table

TEST_SHARE = 0.2  # of the people, with all of their rows
Cells = Sequence[str]


def write_sites(
    directory: Path,
    sites: Sequence[str],
    columns: Mapping[str, Cells],
    where: Places,
    is_test: NDArray[np.bool_],
) -> Path:
    """Write `directory`/SITE/train.csv and test.csv, by each row's site and whether it is for the test."""
    rows = list(zip(*columns.values(), strict=True))
    for place, site in enumerate(sites):
        for part, wanted in (("train", ~is_test), ("test", is_test)):
            found = np.flatnonzero((where == place) & wanted)
            write_table(
                directory / site / f"{part}.csv", tuple(columns), [rows[row] for row in found.tolist()]
            )
    return directory


def odds(log_odds: Floats) -> Floats:
    """Chances of log-odds."""
    found: Floats = 1 / (1 + np.exp(-log_odds))
    return found


def whole(values: Floats) -> list[str]:
    """Whole numbers, as text."""
    return [str(int(value)) for value in np.round(values).tolist()]


def decimal(values: Floats, digits: int = 1) -> list[str]:
    """Numbers with so many decimals."""
    return [f"{value:.{digits}f}" for value in values.tolist()]


def named(places: Places, names: Sequence[str]) -> list[str]:
    """The names at these places."""
    return [names[place] for place in places.tolist()]


def graded(draws: Draws, score: Floats, cuts: Sequence[float], spread: float = 1.0) -> Places:
    """In which of the grades between these cuts a score falls, once chance has moved it."""
    moved = score + spread * draws.normal(len(score))
    return np.searchsorted(np.array(cuts), moved).astype(np.int64)


def lost(draws: Draws, cells: Cells, chances: Floats, mark: str = "?") -> list[str]:
    """The cells, of which some were never filled in."""
    gone = draws.is_true(chances)
    return [mark if is_gone else cell for cell, is_gone in zip(cells, gone.tolist(), strict=True)]
