"""From whole cells, such as texts, to vectors of the model's input: a cell alone makes each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import is_missing
from clients.data.distinct import Distinct
from clients.data.faults import Fault
from clients.rules.origin import Origin, Place
from federation.plan.columns.encoder import Encoder
from federation.plan.columns.features import Feature
from federation.plan.columns.wide import Wide, Words
from federation.plan.identifiers import cleaned

Vectors = NDArray[np.float32]
_CURE = 'correct the cell, or have the plan say missing = "indicator"'
_SHORTER = "shorten or correct the cell"


def vectors(
    feature: Wide, cells: Sequence[str], folders: Sequence[Path] = ()
) -> tuple[Vectors, tuple[Fault, ...], NDArray[np.bool_]]:
    """What each cell becomes, (n, vector); what is wrong; and where nothing is known, if the plan has a rule.

    An encoder that the feature pins may be in one of the `folders`.
    """
    seen = Distinct.of(cells)
    silent = {cell for cell in seen.cells if is_missing(cleaned(cell))}
    is_silent = seen.where(silent.__contains__)
    if feature.missing is None:
        faults = seen.faults(feature.name, lambda _: ("says nothing", _CURE), is_silent)
        filled = np.zeros(len(is_silent), np.bool_)
    else:
        faults, filled = (), is_silent
    own = _vectors(feature, [None if cell in silent else cell for cell in seen.cells], folders)
    is_lost: NDArray[np.bool_] = np.logical_not(np.isfinite(own.sum(1)))  # a network overflows on it
    if is_lost.any():
        own[is_lost] = 0
        faults += seen.faults(feature.name, lambda _: ("becomes no vector", _SHORTER), is_lost[seen.rows])
    return own[seen.rows], faults, filled


def require_encoders(features: Sequence[Feature], place: Place) -> None:
    """OtherEncoder unless every encoder that a plan pins is here, and can be run: before any record is read."""
    for feature in features:
        if isinstance(feature, Encoder):
            from clients.data.encoding.encoders import opened  # the libraries of an extra

            opened(feature, Origin.of(place).encoders)


def _vectors(feature: Wide, cells: Sequence[str | None], folders: Sequence[Path]) -> Vectors:
    """Each cell's vector; those of None are zeros."""
    if isinstance(feature, Encoder):
        from clients.data.encoding.encoders import vectors_of

        return vectors_of(feature, folders, cells)
    rows = np.zeros((len(cells), feature.vector), np.float32)
    if not isinstance(feature, Words):
        raise TypeError("its cells are no texts")
    for row, cell in zip(rows, cells, strict=True):
        for place, value in feature.places(cell or "").items():
            row[place] = value
    return rows
