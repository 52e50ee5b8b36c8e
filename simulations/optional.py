"""Figures that a run can do without: one that cannot be made is n/a, and the report says why.

A run is paid for with epsilon that nobody gives back. So nothing that only describes it may end it: not a metric,
not the comparison without privacy, not a plot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from federation.errors import TrainingDiverged
from federation.report.report import Metrics
from privacy.mechanism.encoding import EncodingOverflow

DIVERGED = "diverged"


@dataclass
class Optional:
    """Makes figures; `missing` says of each that could not be made, by name: "diverged", or the kind of error."""

    missing: dict[str, str] = field(default_factory=dict)

    def make(self, name: str, asked: Sequence[str], work: Callable[[], Metrics]) -> Metrics:
        """The result of `work`, or None for each metric that was asked for."""
        try:
            return work()
        except Exception as error:  # the text of a foreign error may quote the data: its kind only
            self.missing[name] = reason(error)
            return dict.fromkeys(asked)


def reason(error: Exception) -> str:
    """Why a figure is missing, in a word."""
    return DIVERGED if isinstance(error, TrainingDiverged | EncodingOverflow) else type(error).__name__
