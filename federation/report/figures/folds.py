"""The figures of a plan's folds together: each, their mean and their standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from federation.report.figures.published import in_order

FIGURES = ("accuracy", "loss", "records", "standard_error")


def figures_of(published: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of one fold by name: where no class is predicted, the records and what was measured."""
    measured = published.get("measured")
    if measured is None:
        return {name: published[name] for name in FIGURES}
    metrics = {name: None if one is None else one["value"] for name, one in measured["metrics"].items()}
    return {**{name: metrics[name] for name in in_order(metrics)}, "records": published["records"]}


def over(published: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Mean and standard deviation (with n - 1) of each figure over these folds; None where a fold has none."""
    means, deviations = dict[str, float | None](), dict[str, float | None]()
    folds = [figures_of(each) for each in published]
    for name in folds[0] if folds else FIGURES:
        values = [value for each in folds if (value := each[name]) is not None]
        is_known = len(values) == len(folds) > 1
        means[name] = mean(values) if is_known else None
        deviations[name] = stdev(values) if is_known else None
    return means, deviations
