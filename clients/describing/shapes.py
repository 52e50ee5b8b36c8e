"""What each column of a site's file holds, in the bins of a plan's statistics: for the people there.

The figures are exact, and for that site's own terminal alone, as those of `clients.describing.described` are: no
class here shows them in its repr. The pooled table of a run says the same of all sites together, with noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clients.data.encoding.dates import day_numbers
from clients.data.encoding.encoded import NOWHERE, Encoded, of_numbers, of_texts
from clients.data.sources.numerals import parsed
from clients.data.sources.table import Table
from federation.plan.columns.features import MISSING, Date, Feature, Numeric
from federation.plan.tallies.tasks import Statistics

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, repr=False)
class Shape:
    """A column. `counts` are by bin or value; `figures` of numbers: mean, deviation and the quantiles at `SHARES`.

    They are of the numbers as they stand in the file, also outside of the range, at whose ends bins count them.
    """

    name: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int
    figures: tuple[float, ...] | None
    is_date: bool = False


def shapes(table: Table, task: Statistics) -> tuple[Shape, ...]:
    """All columns that a plan counts."""
    return tuple(_shape(table, feature) for feature in task.features)


def _shape(table: Table, feature: Feature) -> Shape:
    if isinstance(feature, Numeric):
        cells = table.numerals(feature.name)
        return _of(feature, of_numbers(feature, cells), parsed(cells))
    texts = table.column(feature.name)
    if isinstance(feature, Date):
        days = day_numbers(feature.model_copy(update={"missing": None}), texts)[0]
        return _of(feature, of_texts(feature, texts), days)
    return _of(feature, of_texts(feature, texts), None)


def _of(feature: Feature, taken: Encoded, values: np.ndarray | None) -> Shape:
    counts, labels = np.zeros(len(feature.parts), np.int64), [str(part) for part in feature.parts]
    for places in taken.places:
        counts += np.bincount(places[places != NOWHERE], minlength=len(counts))
    has_mark = bool(labels) and labels[-1] == MISSING
    own = slice(0, len(labels) - has_mark)
    known = np.zeros(0) if values is None else values[~np.isnan(values)]
    return Shape(
        feature.name,
        tuple(label.removeprefix("= ") for label in labels[own]),
        tuple(counts[own].tolist()),
        int(taken.filled.sum()),
        None if not len(known) else (float(known.mean()), float(known.std()), *_quantiles(known)),
        isinstance(feature, Date),
    )


def _quantiles(known: np.ndarray) -> tuple[float, ...]:
    found: tuple[float, ...] = tuple(np.quantile(known, SHARES).tolist())
    return found
