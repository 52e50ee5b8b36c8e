"""From the cells of a feature to columns of the model's input, by the plan's public rules alone.

What a cell becomes depends on no other cell. Whole columns are encoded at once, and different cells looked at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.cells import codes, numbers, texts
from clients.data.encoding.dates import day_numbers, months_of, weekdays_of
from clients.data.encoding.pictures import pictures
from clients.data.encoding.wide import Vectors, vectors
from clients.data.faults import Fault
from clients.data.sources.table import Table
from clients.rules.origin import Origin
from federation.plan.columns.dates import DAYS, MONTHS, Date
from federation.plan.columns.features import (
    MISSING,
    OTHER,
    Categorical,
    Feature,
    Hashed,
    Numeric,
    Picture,
    Wide,
)
from federation.plan.columns.maps import hats
from federation.plan.columns.scales import Numbers, corners, scaled

Places = NDArray[np.int64]
NOWHERE = -1


@dataclass(frozen=True)
class Encoded:
    """A feature of all records: a number in the first column, if it has one, and ones in some of the others.

    A whole cell, such as a text, has `vectors` (n, many) in the first columns instead.

    With `knots` the number is in as many columns, by its hats; a record with a mark, that it is missing, in none.

    Each of `places` (n,) is a column of the feature, or NOWHERE. `filled` says where nothing is known and the plan
    says what that means, `other` where a text is not listed: both for the site's own terminal alone. What the plan
    does not take has a fault, and stands in no column.
    """

    first: Numbers | None = field(repr=False)
    places: tuple[Places, ...] = field(repr=False)
    faults: tuple[Fault, ...]
    filled: NDArray[np.bool_] = field(repr=False)
    other: NDArray[np.bool_] | None = field(default=None, repr=False)
    knots: int | None = None
    corners: Numbers | None = field(default=None, repr=False)
    vectors: Vectors | None = field(default=None, repr=False)

    def write(self, block: NDArray[np.float32]) -> None:
        """Write the columns into a block (n, width) of zeros."""
        if self.vectors is not None:
            block[:, : self.vectors.shape[1]] = self.vectors
        if self.first is not None:
            block[:, : self.knots or 1] = self._numbers(self.first)
        for places in self.places:
            rows = np.flatnonzero(places != NOWHERE)
            block[rows, places[rows]] = 1.0

    @property
    def squares(self) -> Numbers:
        """What the feature adds to the squared length of each record."""
        numbers = np.zeros((len(self.filled), 0)) if self.first is None else self._numbers(self.first)
        total: Numbers = np.square(numbers).sum(1)
        if self.vectors is not None:
            total = total + np.einsum("ij,ij->i", self.vectors, self.vectors, dtype=np.float64)
        for places in self.places:
            total = total + (places != NOWHERE)
        return total

    def _numbers(self, first: Numbers) -> Numbers:
        if self.knots is None:
            return first[:, None]
        found = hats(first, self.knots, self.corners)
        for marks in self.places:
            found[marks != NOWHERE] = 0
        return found


def encoded(table: Table, feature: Feature) -> Encoded:
    """The columns of a feature in a table."""
    if isinstance(feature, Numeric):
        return of_numbers(feature, table.numerals(feature.name), table.decimal)
    if isinstance(feature, Picture):
        return _of_vectors(feature, *pictures(feature, table))
    folders = Origin.of(table.path).encoders
    return of_texts(feature, table.column(feature.name), folders)


def of_texts(
    feature: Categorical | Hashed | Date | Wide, cells: Sequence[str], folders: Sequence[Path] = ()
) -> Encoded:
    """The columns of a feature whose cells are texts; an encoder that reads some may be in one of the `folders`."""
    if isinstance(feature, Date):
        return of_dates(feature, cells)
    if isinstance(feature, Wide):
        return of_wholes(feature, cells, folders)
    return of_codes(feature, cells) if isinstance(feature, Hashed) else of_values(feature, cells)


def of_numbers(feature: Numeric, cells: Sequence[str], decimal: str = ".") -> Encoded:
    """A number on its public range, and where the plan says so a mark that it is missing."""
    rule = feature.missing
    values, faults, filled = numbers(cells, feature.name, decimal, is_filled=rule is not None)
    if isinstance(rule, float):
        values[filled] = rule
    first = np.nan_to_num(
        scaled(values, feature)
    )  # a missing number is the middle of the range, on its scale
    if feature.bins is not None:
        return Encoded(None, _in_bins(first, feature.bins, filled, rule), faults, filled)
    marks = (np.where(filled, feature.hats or 1, NOWHERE),) if rule == "indicator" else ()
    return Encoded(first, marks, faults, filled, knots=feature.hats, corners=corners(feature))


def _in_bins(first: Numbers, bins: int, filled: NDArray[np.bool_], rule: object) -> tuple[Places, ...]:
    """The bin of each number, or the column behind them where it is missing: one column for each record."""
    places = np.minimum((first + 1) / 2 * bins, bins - 1).astype(np.int64)
    return (np.where(filled, bins, places) if rule == "indicator" else places,)


def of_values(feature: Categorical, cells: Sequence[str]) -> Encoded:
    """A text as one of the plan's values, one-hot."""
    parts, rule = feature.parts, feature.missing
    filler = None if rule is None else parts.index(MISSING if rule == "category" else f"= {rule}")
    bucket = parts.index(OTHER) if feature.other else None
    places, faults, filled = codes(cells, feature.name, feature.values, filler, bucket)
    return Encoded(None, (places,), faults, filled, None if bucket is None else places == bucket)


def of_codes(feature: Hashed, cells: Sequence[str]) -> Encoded:
    """A code as the column that its hash falls into."""
    filler = feature.hash if feature.missing == "category" else None
    places, faults, filled = texts(cells, feature.name, feature.place_of, filler)
    return Encoded(None, (places,), faults, filled)


def of_dates(feature: Date, cells: Sequence[str]) -> Encoded:
    """A date as days, month and weekday, as the plan takes them."""
    days, faults, filled = day_numbers(feature, cells)
    if feature.bins is not None:
        shares = np.nan_to_num(scaled(days, feature.range))
        return Encoded(None, _in_bins(shares, feature.bins, filled, feature.missing), faults, filled)
    first, places, at = None, list[Places](), 0
    for part in feature.take:
        if part == DAYS:
            first = np.nan_to_num(scaled(days, feature.range))
        else:
            found = months_of(days) if part == MONTHS else weekdays_of(days)
            places.append(np.where(found == NOWHERE, NOWHERE, found + at))
        at += len(feature.columns(part))
    if feature.missing == "indicator":
        places.append(np.where(filled, at, NOWHERE))
    return Encoded(first, tuple(places), faults, filled)


def of_wholes(feature: Wide, cells: Sequence[str], folders: Sequence[Path] = ()) -> Encoded:
    """What a public function makes of each cell, and where the plan says so a mark that it is missing."""
    return _of_vectors(feature, *vectors(feature, cells, folders))


def _of_vectors(
    feature: Wide, found: Vectors, faults: tuple[Fault, ...], filled: NDArray[np.bool_]
) -> Encoded:
    marks = (np.where(filled, feature.vector, NOWHERE),) if feature.missing == "indicator" else ()
    return Encoded(None, marks, faults, filled, vectors=found)
