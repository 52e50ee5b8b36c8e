"""Figures of folds together: of what is no class, those that are published of it."""

from __future__ import annotations

import pytest

from federation.report.figures.folds import FIGURES, figures_of, over


def fold(mae: float, records: float, r2: float | None = 0.5) -> dict[str, object]:
    metrics = {
        "r2": None if r2 is None else {"value": r2, "low": 0.0, "high": 1.0},
        "mae": {"value": mae, "low": 0.0, "high": 9.0},
    }
    return {**dict.fromkeys(FIGURES), "records": records, "measured": {"metrics": metrics}}


def test_the_mean_over_folds_is_of_each_metric_and_none_where_one_fold_has_none() -> None:
    means, deviations = over([fold(2.0, 100.0), fold(4.0, 120.0)])
    assert means == {"mae": 3.0, "r2": 0.5, "records": 110.0}
    assert list(means) == ["mae", "r2", "records"]
    assert deviations["mae"] == pytest.approx(2**0.5)
    assert over([fold(2.0, 100.0), fold(4.0, 120.0, None)])[0]["r2"] is None


def test_classes_have_the_four_figures_that_they_had() -> None:
    told = {"accuracy": 0.5, "loss": 0.7, "records": 9.0, "standard_error": 0.1}
    assert figures_of(told) == told
    assert over([told])[0] == dict.fromkeys(FIGURES)
