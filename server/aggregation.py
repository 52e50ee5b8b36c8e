"""From the sum of a cohort to its mean delta: the only place where the sum is read.

All of it is post-processing of what the secure sum released; with central noise, the noise is added first.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from federation.terms import Terms
from privacy.encoding import RingVector
from privacy.errors import UnsafeParameters
from privacy.noise import SIGMA, Stream


def mean_delta(terms: Terms, total: RingVector, survivors: Sequence[str], stream: Stream) -> Tensor:
    """The cohort's delta, flat float64. `total` is the unmasked ring sum over `survivors`.

    A sum of gradients becomes one step of size `training.learning_rate` along their mean over the expected
    number of records; a sum of updates is divided by the sum of their public weights.
    """
    summed = released_sum(terms, total, stream)
    if terms.sums_gradients:
        expected = terms.plan.training.sample_rate * sum(terms.size(site) for site in survivors)
        return -terms.plan.training.learning_rate * summed / expected
    return summed / sum(terms.weight(site) for site in survivors)


def released_sum(terms: Terms, total: RingVector, stream: Stream) -> Tensor:
    """What the cohort released, flat float64: the decoded sum, with the server's noise on it where that is due."""
    integers = terms.codec.from_ring(total)
    if terms.plan.privacy.noise == "central":
        if terms.mechanism is None:
            raise UnsafeParameters("central noise without a mechanism")
        integers = integers + terms.mechanism.noise(stream)
    return terms.codec.decode(integers)


def sum_variance(terms: Terms, survivors: int) -> float:
    """The variance of the noise on each coordinate of `released_sum`: that of all shares in it. 0 without noise."""
    if terms.mechanism is None or terms.noises_each_step:
        return 0.0
    shares = 1 if terms.plan.privacy.noise == "central" else survivors
    return shares * (SIGMA * terms.mechanism.step) ** 2


def noise_variance(terms: Terms, survivors: Sequence[str]) -> float:
    """The variance of the noise on each coordinate of `mean_delta`: public, as it follows from the terms.

    Where a site noises each of its local steps, what its own optimizer makes of the noise is known for SGD only.
    """
    if terms.mechanism is None:
        return 0.0
    plan = terms.plan
    rate, learning_rate = plan.training.sample_rate, plan.training.learning_rate
    weights = {site: terms.weight(site) for site in survivors}
    if terms.noises_each_step:
        scales = (weights[site] * learning_rate / (rate * terms.size(site)) for site in survivors)
        each = sum(scale**2 for scale in scales) * plan.training.local_steps
        return (SIGMA * terms.mechanism.step) ** 2 * each / sum(weights.values()) ** 2
    total = sum_variance(terms, len(survivors))
    if terms.sums_gradients:
        expected = rate * sum(terms.size(site) for site in survivors)
        return total * (learning_rate / expected) ** 2
    return total / sum(weights.values()) ** 2
