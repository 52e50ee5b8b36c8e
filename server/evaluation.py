"""A published evaluation: accuracy and mean loss from noised sums over all held-out records.

All of it is post-processing of one release. The standard error says what the noise alone does to a figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor

from federation.kinds.allowed import Unlikely
from federation.kinds.figures import LOSS_BOUND
from federation.round.terms import Terms
from privacy.ledger.heads import Head
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import Stream
from server.judging import judge

_LEAST = 3.0  # the number of records must exceed this many standard deviations of its noise


@dataclass(frozen=True)
class Evaluated:
    """The round after the last: its figures, the sites in them, and the ledger heads that these showed.

    `unlikely`: what is odd about the sums, where the plan has that reported.
    """

    figures: Mapping[str, float | None]
    cohort: tuple[str, ...]
    survivors: tuple[str, ...]
    heads: Mapping[str, Head] = field(default_factory=dict)
    unlikely: Unlikely | None = None


def evaluated(
    terms: Terms,
    total: RingVector,
    survivors: tuple[str, ...],
    stream: Stream,
    heads: Mapping[str, Head] = MappingProxyType({}),
) -> Evaluated:
    """What an evaluation round publishes. SumRefused: nothing."""
    released = terms.kind.released(terms.parties, total, stream)
    found = judge(terms, released, survivors)
    return Evaluated(
        published(terms, released, len(survivors)), terms.parameters.members, survivors, heads, found
    )


def published(terms: Terms, released: Tensor, survivors: int) -> dict[str, float | None]:
    """The figures of an evaluation round; None where the noise hides them."""
    kind, parties = terms.kind, terms.parties
    right, wrong, loss = (float(value) for value in released)
    records, deviation = right + wrong, math.sqrt(kind.sum_variance(parties, survivors))
    if records < _LEAST * math.sqrt(2) * deviation:
        return {"records": None, "accuracy": None, "loss": None, "standard_error": None}
    accuracy = min(1.0, max(0.0, right / records))
    return {
        "records": records,
        "accuracy": accuracy,
        "loss": min(LOSS_BOUND, max(0.0, LOSS_BOUND * loss / records)),
        # right / (right + wrong): its gradient is ((1 - accuracy), -accuracy) / records.
        "standard_error": deviation * math.hypot(1 - accuracy, accuracy) / records,
    }
