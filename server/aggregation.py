"""From the sum of a cohort to its mean delta: the only place where the sum is read.

All of it is post-processing of what the secure sum released; with central noise, the noise is added first.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from federation.round.terms import Terms
from privacy.mechanism.encoding import RingVector
from privacy.mechanism.noise import Stream


def mean_delta(terms: Terms, total: RingVector, survivors: Sequence[str], stream: Stream) -> Tensor:
    """The cohort's delta, flat float64. `total` is the unmasked ring sum over `survivors`."""
    kind, parties = terms.kind, terms.parties
    return kind.mean(parties, kind.released(parties, total, stream), survivors)


def noise_variance(terms: Terms, survivors: Sequence[str]) -> float:
    """The variance of the noise on each coordinate of `mean_delta`: public, as it follows from the terms."""
    return terms.kind.noise_variance(terms.parties, survivors)
