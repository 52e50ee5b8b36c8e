"""Weights of classes: what a record of each counts beside one of another, in public.

A weight is the plan's, and so in its digest. It follows from what the field knows, or from a figure that was
charged, never from counts in the files: a weight that is made of counts tells them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Strict

from federation.config.schema import Mistake, nearest

Weights = Annotated[Mapping[str, float], Strict(False)]
_LEAST, _MOST = 1e-6, 1e6


def check_weights(weights: Mapping[str, float] | None, classes: Sequence[str]) -> None:
    """Mistake for a class that is none, and for a weight that floats could not keep apart from 0."""
    if weights is None:
        return
    if not weights:
        raise Mistake("names no class", 'write for example { "1" = 5.0 }, or remove it', ("class_weights",))
    for name, weight in weights.items():
        place = ("class_weights", name)
        if name not in classes:
            raise Mistake("is no class of the plan", nearest(name, classes), place)
        if not _LEAST <= weight <= _MOST:
            reason = f"must be between {_LEAST:g} and {_MOST:g}"
            raise Mistake(reason, "a record of a class that is not named counts 1", place)


def shares(weights: Mapping[str, float] | None, classes: Sequence[str]) -> tuple[float, ...]:
    """What a record's gradient is multiplied by, in the order of the classes: its weight over the largest one.

    None is above 1, so what was clipped stays as short as it was. Empty without weights.

    >>> shares({"1": 5.0}, ["0", "1"]), shares(None, ["0", "1"])
    ((0.2, 1.0), ())
    """
    if weights is None:
        return ()
    each = [weights.get(name, 1.0) for name in classes]
    return tuple(weight / max(each) for weight in each)
