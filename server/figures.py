"""A published evaluation: accuracy and mean loss from noised sums over everybody held out.

All of it is post-processing of one release. The standard error says what the noise alone does to a figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from federation.terms import LOSS_BOUND, Terms
from privacy.encoding import RingVector
from privacy.errors import UnsafeParameters
from privacy.noise import Stream
from privacy.witness import Head
from server.aggregation import released_sum, sum_variance

LEAST = 3.0  # standard deviations of noise that the number of records must stand out by


@dataclass(frozen=True)
class Evaluated:
    """The round after the last: its figures, whose records are in them, and what their ledgers showed."""

    figures: Mapping[str, float | None]
    cohort: tuple[str, ...]
    survivors: tuple[str, ...]
    heads: Mapping[str, Head] = field(default_factory=dict)


def published(terms: Terms, total: RingVector, survivors: int, stream: Stream) -> dict[str, float | None]:
    """The figures of an evaluation round; None where the noise hides them."""
    if terms.mechanism is None:
        raise UnsafeParameters("an evaluation without a mechanism")
    right, wrong, loss = (float(value) for value in released_sum(terms, total, stream))
    records, deviation = right + wrong, math.sqrt(sum_variance(terms, survivors))
    if records < LEAST * math.sqrt(2) * deviation:
        return {"records": None, "accuracy": None, "loss": None, "standard_error": None}
    accuracy = min(1.0, max(0.0, right / records))
    return {
        "records": records,
        "accuracy": accuracy,
        "loss": min(LOSS_BOUND, max(0.0, LOSS_BOUND * loss / records)),
        # right / (right + wrong): its gradient is ((1 - accuracy), -accuracy) / records.
        "standard_error": deviation * math.hypot(1 - accuracy, accuracy) / records,
    }
