"""From whole cells, such as texts, to vectors of the model's input: a cell alone makes each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import is_missing
from clients.data.distinct import Distinct
from clients.data.faults import Fault
from federation.plan.identifiers import cleaned
from federation.plan.wide import Wide, Words

Vectors = NDArray[np.float32]
_CURE = 'correct the cell, or have the plan say missing = "indicator"'


def vectors(feature: Wide, cells: Sequence[str]) -> tuple[Vectors, tuple[Fault, ...], NDArray[np.bool_]]:
    """What each cell becomes, (n, vector); what is wrong; and where nothing is known, if the plan has a rule."""
    seen = Distinct.of(cells)
    silent = {cell for cell in seen.cells if is_missing(cleaned(cell))}
    is_silent = seen.where(silent.__contains__)
    if feature.missing is None:
        faults = seen.faults(feature.name, lambda _: ("says nothing", _CURE), is_silent)
        filled = np.zeros(len(is_silent), np.bool_)
    else:
        faults, filled = (), is_silent
    own = np.zeros((len(seen.cells), feature.vector), np.float32)
    _write(feature, [None if cell in silent else cell for cell in seen.cells], own)
    return own[seen.rows], faults, filled


def _write(feature: Wide, cells: Sequence[str | None], rows: Vectors) -> None:
    """Each cell's vector into its row; those of None stay zeros."""
    if isinstance(feature, Words):
        for row, cell in zip(rows, cells, strict=True):
            for place, value in feature.places(cell or "").items():
                row[place] = value
