"""A published evaluation: accuracy and mean loss, a histogram, or what is measured where no class is predicted.

All of it is post-processing of one release. The standard error says what the noise alone does to a figure.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from federation.kinds.cells import Cells, blocks_of
from federation.kinds.figures import LOSS_BOUND
from federation.kinds.moments import Numbers, Times
from federation.round.terms import Terms
from federation.sums.measured.told import measured
from federation.sums.scores import headline, histogram

HEADLINE = ("records", "accuracy", "loss", "standard_error")
"""The figures that every published evaluation has; None where they mean nothing."""
_LEAST = 3.0  # the number of records must exceed this many standard deviations of its noise


def published(terms: Terms, released: Tensor, survivors: int, reduced: int = 0) -> dict[str, Any]:
    """The figures of an evaluation round; None where the noise hides them.

    From the sum the excess noise of `reduced` survivors was taken out.
    """
    kind, parties = terms.kind, terms.parties
    deviation = math.sqrt(kind.sum_variance(parties, survivors, reduced))
    blocks = blocks_of(terms.plan)
    if isinstance(blocks, Cells):
        told = histogram(blocks, released.tolist(), deviation)
        return {**headline(told, blocks, deviation), "histogram": told}
    if isinstance(blocks, Numbers | Times):
        told = measured(blocks, released.tolist(), deviation)
        return {**dict.fromkeys(HEADLINE), "records": told["records"], "measured": told}
    right, wrong, loss = (float(value) for value in released)
    records = right + wrong
    if records < _LEAST * math.sqrt(2) * deviation:
        return {"records": None, "accuracy": None, "loss": None, "standard_error": None}
    accuracy = min(1.0, max(0.0, right / records))
    moved = (1 - accuracy) * (1 - accuracy) + accuracy * accuracy
    return {
        "records": records,
        "accuracy": accuracy,
        "loss": min(LOSS_BOUND, max(0.0, LOSS_BOUND * loss / records)),
        # right / (right + wrong): its gradient is ((1 - accuracy), -accuracy) / records.
        "standard_error": deviation * math.sqrt(moved) / records,
    }
