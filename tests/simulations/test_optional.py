"""A figure that cannot be made is n/a, with a word that says why and shows no value."""

from __future__ import annotations

import pytest

from federation.errors import TrainingDiverged
from federation.report.report import Metrics
from privacy.mechanism.encoding import EncodingOverflow
from simulations.optional import Optional


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (TrainingDiverged("patient 987654"), "diverged"),
        (EncodingOverflow("patient 987654"), "diverged"),
        (ZeroDivisionError("patient 987654"), "ZeroDivisionError"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_becomes_its_kind(error: Exception, why: str) -> None:
    def fail() -> Metrics:
        raise error

    optional = Optional()
    assert optional.make("pooled", ("accuracy", "auc"), fail) == {"accuracy": None, "auc": None}
    assert optional.missing == {"pooled": why}


def test_what_can_be_made_is_and_nothing_is_missing() -> None:
    optional = Optional()
    assert optional.make("pooled", ("accuracy",), lambda: {"accuracy": 0.5}) == {"accuracy": 0.5}
    assert optional.missing == {}


def test_an_interruption_is_no_missing_figure() -> None:
    def stop() -> Metrics:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Optional().make("pooled", (), stop)
