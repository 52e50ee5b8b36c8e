"""The figures of a plan's folds together: each, their mean and their standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

FIGURES = ("accuracy", "loss", "records", "standard_error")


def over(published: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Mean and standard deviation (with n - 1) of each figure over these folds; None where a fold has none."""
    means, deviations = dict[str, float | None](), dict[str, float | None]()
    for name in FIGURES:
        values = [each[name] for each in published]
        is_known = len(values) > 1 and all(value is not None for value in values)
        means[name] = mean(values) if is_known else None
        deviations[name] = stdev(values) if is_known else None
    return means, deviations
