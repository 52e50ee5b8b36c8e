"""The points at which a feature is looked at: which columns a cell there becomes, and what it is called.

They follow from the plan alone: knots of a number or the ends of its range, the values of a list, a missing cell.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federation.plan.columns.dates import DAYS, Date
from federation.plan.columns.features import MISSING, OTHER, Feature, Numeric, Wide
from federation.plan.columns.maps import hats
from federation.plan.columns.scales import corners, unscaled
from federation.plan.numerals import as_text
from federation.plan.tabular import TabularTask

Numbers = NDArray[np.float64]

_ON_A_SCALE = 9  # points of a line that is straight on a scale, and no other


@dataclass(frozen=True, eq=False)
class Points:
    """Points of a feature, or of a part of it that adds up by itself, such as the months of a date.

    `columns` (points, width) is what a cell there becomes, of all the feature's columns. `weights` (points,) are
    the shares in the mean: nothing for a missing cell and for texts that are not listed, of which nobody knows how
    many there are.
    """

    name: str
    at: tuple[float | None, ...]
    labels: tuple[str, ...]
    columns: Numbers
    weights: Numbers

    @property
    def mean(self) -> Numbers:
        """The columns (1, width) in the mean."""
        return (self.weights @ self.columns)[None]

    @property
    def centered(self) -> Numbers:
        """The columns less their mean."""
        return np.subtract(self.columns, self.mean)


def points_of(feature: Feature) -> tuple[Points, ...]:
    """A feature's points; of a date, those of each part that the plan takes. What a cell adds is the sum of all.

    A whole, such as a text, has none: its columns mean nothing one by one.
    """
    if isinstance(feature, Wide):
        return ()
    if isinstance(feature, Numeric):
        return (_of_number(feature),)
    if isinstance(feature, Date):
        return _of_date(feature)
    return (_of_values(feature.name, feature.parts),)


def middle_of(features: Sequence[Feature]) -> Numbers:
    """The columns of all features in the middle of the public ranges; zeros of a whole."""
    each = [
        np.sum([np.zeros(len(feature.parts)), *(points.mean[0] for points in points_of(feature))], axis=0)
        for feature in features
    ]
    return np.concatenate(each)


def middle_record(task: TabularTask) -> Numbers:
    """The input (inputs,) of a record whose every row is in the middle, and 0 in columns of crosses."""
    row, own = np.zeros(task.width), middle_of(task.features)
    row[: len(own)] = own
    return np.tile(row, task.steps)


def _of_number(feature: Numeric) -> Points:
    many, listed = feature.hats or (2 if feature.scale is None else _ON_A_SCALE), corners(feature)
    places = np.linspace(-1.0, 1.0, many) if listed is None else listed
    columns = places[:, None] if feature.hats is None else hats(places, feature.hats, listed)
    numbers = unscaled(places, feature)
    labels = [as_text(float(f"{one:.4g}")) for one in numbers.tolist()]
    return _line(feature.name, numbers, labels, columns, feature.missing == "indicator", places)


def _of_date(feature: Date) -> tuple[Points, ...]:
    found, at, width = list[Points](), 0, len(feature.parts)
    for part in feature.take:
        own = feature.columns(part)
        columns = np.zeros((2 if part == DAYS else len(own), width))
        if part == DAYS:
            columns[:, at] = -1, 1
            days = np.array([feature.range.low, feature.range.high])
            labels = [datetime.date.fromordinal(int(day)).isoformat() for day in days]
            points = _line(feature.name, days, labels, columns, False)
        else:
            columns[:, at : at + len(own)] = np.eye(len(own))
            labels = [name.strip("()").split(" = ")[-1] for name in own]
            many = len(labels)
            points = Points(
                f"{feature.name} ({part})", (None,) * many, tuple(labels), columns, np.full(many, 1 / many)
            )
        found.append(points)
        at += len(own)
    if feature.missing != "indicator":
        return tuple(found)
    # A missing date has no month and no weekday; the mark is told beside the first part.
    return tuple(_with_missing(one, width, is_marked=place == 0) for place, one in enumerate(found))


def _with_missing(points: Points, width: int, *, is_marked: bool) -> Points:
    row = np.zeros((1, width))
    row[0, -1] = is_marked
    return Points(
        points.name,
        (*points.at, None),
        (*points.labels, MISSING),
        np.concatenate([points.columns, row]),
        np.append(points.weights, 0.0),
    )


def _line(
    name: str,
    at: Numbers,
    labels: Sequence[str],
    columns: Numbers,
    has_missing: bool,
    places: Numbers | None = None,
) -> Points:
    """Points along a line, weighted as its mean over `places` is: half of the way to each neighbor."""
    gaps = np.diff(np.linspace(-1.0, 1.0, len(at)) if places is None else places) / 4
    weights = np.zeros(len(at))
    weights[:-1] += gaps
    weights[1:] += gaps
    points = Points(name, tuple(at.tolist()), tuple(labels), columns, weights)
    if not has_missing:
        return points
    wider = np.concatenate([columns, np.zeros((len(at), 1))], axis=1)
    points = Points(name, points.at, points.labels, wider, weights)
    return _with_missing(points, wider.shape[1], is_marked=True)


def _of_values(name: str, parts: Sequence[str]) -> Points:
    listed = np.array([part not in (MISSING, OTHER) for part in parts], np.float64)
    labels = tuple(part.removeprefix("= ") for part in parts)
    return Points(name, (None,) * len(parts), labels, np.eye(len(parts)), listed / listed.sum())
