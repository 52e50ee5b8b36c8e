"""Public maps of features: hat functions of a number, products of two features, rows of length 1.

They follow from the plan alone and look at one record at a time, so they cost no privacy and are the same at every
site. With them a model that adds up can bend: what a number contributes is then a line through `knots` points of
its public range, and what two crossed features contribute is one number per pair of their columns.

The knots lie evenly on the feature's scale, the first at `low`, the last at `high`; or where a list has them, with
these two beside it. A number between two knots is
shared by their hats, so the hats of a number add up to 1, and at most two of them are not 0: a feature adds no more
to a record's length than a value of a list does, however many knots it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from federation.config.schema import Mistake
from federation.plan.columns.features import Date, Feature, Wide

MOST_CROSSED = 512
"""The most columns of a cross: each is a param a class, with noise of its own and few records behind it."""

Block = NDArray[np.float32]


def hats(
    places: NDArray[np.float64], knots: int, corners: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Linear B-splines of places (n,) in [-1, 1]: (n, knots), each row from 0 to 1 and 1 in all.

    `corners` (knots,) say where the knots are that do not lie evenly.

    >>> hats(np.array([-1.0, 0.25, 1.0]), 3)
    array([[1.  , 0.  , 0.  ],
           [0.  , 0.75, 0.25],
           [0.  , 0.  , 1.  ]])
    """
    numbered = np.arange(knots)
    at = (places + 1) / 2 * (knots - 1) if corners is None else np.interp(places, corners, numbered)
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - numbered))


def slices(features: Sequence[Feature]) -> dict[str, slice]:
    """The columns of each feature."""
    ends = list(accumulate(len(feature.parts) for feature in features))
    starts = (0, *ends)
    return {one.name: slice(start, end) for one, start, end in zip(features, starts, ends, strict=False)}


def write_crosses(rows: Block, features: Sequence[Feature], cross: Sequence[tuple[str, str]]) -> None:
    """Fill the columns behind those of the features, in place: the first's columns times all of the second's."""
    at, columns = sum(len(feature.parts) for feature in features), slices(features)
    for first, second in cross:
        right = rows[:, columns[second]]
        for place in range(*columns[first].indices(rows.shape[1])):
            end = at + right.shape[1]
            np.multiply(rows[:, place, None], right, out=rows[:, at:end])
            at = end


def to_unit(rows: Block) -> None:
    """Give every row length 1, in place; a row of zeros stays one."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    rows /= np.where(lengths > 0, lengths, 1)[:, None]


def check_crosses(features: Sequence[Feature], cross: Sequence[tuple[str, str]]) -> None:
    """Raise a Mistake unless each is of two different features, named once, with columns that can be filled."""
    widths, seen = {feature.name: len(feature.parts) for feature in features}, set[frozenset[str]]()
    several = {one.name for one in features if isinstance(one, Date) and len(one.take) > 1}
    wide = {one.name for one in features if isinstance(one, Wide)}
    for pair in cross:
        for name in pair:
            if name in wide:
                raise Mistake(f'crosses "{name}", which is a whole', "cross numbers and values only")
            if name not in widths:
                raise Mistake(f'crosses "{name}", which is no feature', "name it under task.features")
            if name in several:
                raise Mistake(f'crosses "{name}", a date of several parts', "have it take one of them")
        if pair[0] == pair[1]:
            raise Mistake(f'crosses "{pair[0]}" with itself', "give it more knots")
        if frozenset(pair) in seen:
            raise Mistake(f'crosses "{pair[0]}" with "{pair[1]}" twice', "name each pair once")
        seen.add(frozenset(pair))
        if (width := widths[pair[0]] * widths[pair[1]]) > MOST_CROSSED:
            reason = (
                f'crosses "{pair[0]}" with "{pair[1]}" into {width} columns, and {MOST_CROSSED} are the most'
            )
            raise Mistake(reason, "give them fewer knots, or values")
