"""The Gaussian mechanism: a clipping norm, integer noise and the event that both make, as one object.

The mechanism. A sum x of clipped vectors (one record or client more or less moves it by at most C in L2) is rounded
to a grid, x / step, and every share-holder adds N_Z(0, s^2) to each coordinate, s = SIGMA. The release is an
integer vector. Floating-point noise would leak: its low bits can identify the data (Mironov 2012).

The scale. Rounding moves each coordinate by at most 1/2, so two neighboring sums are at most C / step + sqrt(d)
apart on the grid. `step` makes the noise that the guarantee counts on, s sqrt(shares), `noise_multiplier` times
this. The noise stays what it is and the data is scaled to it.

The guarantee is that of the continuous Gaussian mechanism with the same noise multiplier, in every accounting
that holds for it (Poisson sampling, adaptive composition), up to a slack far below what is printed:
  1. A sum of m independent draws N_Z(0, a_i) is N_Z(0, a_1 + ... + a_m), up to factors of its probabilities that
     are nothing. For two, of variances a and b, with h = a b / (a + b), completing the square gives
         P[k] = exp(-k^2 / (2 (a + b))) sum over j of exp(-(j - k a / (a + b))^2 / (2 h)) / (Z_a Z_b),
     and by Poisson summation the inner sum is sqrt(2 pi h) within a factor 1 +- 2.1 exp(-2 pi^2 h), whatever k. As
     h >= min(a, b) / 2, each draw costs a factor exp(+-10 exp(-pi^2 min a_i)) (for equal ones: Kairouz, Liu,
     Steinke 2021), and min a_i >= 2^20. So shares may be drawn in parts of any variances
     (`privacy.mechanism.excess`). What is there beyond the counted shares only adds noise.
  2. With S^2 = n s^2, N_Z(0, S^2) is a continuous Gaussian of variance t^2 = S^2 - 1/12 (Sheppard's correction),
     rounded, up to a factor per coordinate. For v uniform in [-1/2, 1/2] the rounded one has probability
     density(u) E[exp(-(2uv + v^2) / (2 t^2))]; the cumulants of v (1/12, -1/120) make its log plus u^2 / (2 S^2)
         constant + (u^2 / (480 t^2) - u^4 / (2880 t^4)) / t^4 + terms of order t^-6,
     which for |u| <= 13 S varies by less than 10 / S^4. Rounding is post-processing and costs nothing.
  3. So every probability of a run of T steps in d coordinates is within exp(+-10 d T / S^4) of the continuous
     mechanism's, for both neighbors: epsilon grows by at most 20 d T / S^4. What lies beyond 13 S, and the error of
     the table in `privacy.mechanism.noise`, is less than n d T 2^-108 of the mass, and adds (1 + e^epsilon) times
     that to delta.
  4. S^2 - 1/12 instead of S^2 costs 1 / (24 S^2) < 2^-32 of the noise multiplier. FLOAT_SLACK pays for it, and for
     float64's own rounding in the sum, the clip and the projection into a ball: at most 2 n^2 2^-53 C for n
     records, 2^-16 C up to n = 2^18, and 2^-50 n C beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.events import GaussianEvent, is_number
from privacy.errors import UnsafeParameters
from privacy.mechanism.noise import SIGMA, VARIANCE, Stream, discrete_gaussian
from privacy.mechanism.summed import summed_gaussian

FLOAT_SLACK = 2.0**-16  # by how much, relatively, float arithmetic may move a neighboring sum further than C
_MAX_ROUNDING = 0.1  # share of the sensitivity that rounding may add before the grid counts as too coarse


@dataclass(frozen=True)
class GaussianMechanism:
    """Gaussian noise of `noise_multiplier` times the sensitivity on a sum of vectors of norm `clipping_norm`.

    `shares` independent draws together make the noise that the guarantee counts on; 1 means one party adds it all.
    A share may also be drawn in parts that together have its variance.
    UnsafeParameters if the model is too large for the grid.
    """

    clipping_norm: float
    noise_multiplier: float
    sample_rate: float
    shares: int
    dimension: int

    def __post_init__(self) -> None:
        if not (is_number(self.clipping_norm) and 0 < self.clipping_norm <= 1e30):
            raise UnsafeParameters("a clipping norm must be a number above 0 and at most 1e30")
        if type(self.shares) is not int or self.shares < 1:
            hint = "fewer colluders or dropouts, or more sites"
            raise UnsafeParameters("noise needs at least one share", hint=hint)
        if type(self.dimension) is not int or self.dimension < 1:
            raise UnsafeParameters("a model needs at least one parameter")
        _ = self.event  # refuses what the accountant would
        rounding = math.sqrt(self.dimension)
        if rounding > _MAX_ROUNDING * (self._sensitivity - rounding):
            raise UnsafeParameters(
                f"{self.dimension} parameters are too many for noise multiplier {self.noise_multiplier:g}",
                hint="train fewer parameters, allow a larger epsilon, or use more sites",
            )

    @property
    def step(self) -> float:
        """The grid spacing: SIGMA sqrt(shares) = noise_multiplier ((1 + FLOAT_SLACK) C / step + sqrt(d))."""
        return (1 + FLOAT_SLACK) * self.clipping_norm / (self._sensitivity - math.sqrt(self.dimension))

    @property
    def event(self) -> GaussianEvent:
        """One release of this mechanism, as the accountant sees it."""
        return GaussianEvent(self.noise_multiplier, self.sample_rate, 1)

    def noise(self, stream: Stream, variance: int = VARIANCE) -> NDArray[np.int64]:
        """One share, or a part of it with this variance: `dimension` draws in grid units."""
        return discrete_gaussian(stream, self.dimension, variance)

    def noise_rows(self, stream: Stream, count: int) -> NDArray[np.int64]:
        """`count` independent shares (count, `dimension`), for as many sums."""
        return discrete_gaussian(stream, count * self.dimension).reshape(count, self.dimension)

    def noise_of(self, stream: Stream, shares: int, variance: int = VARIANCE) -> NDArray[np.int64]:
        """The sum of so many independent shares, or of parts of them with this variance. For simulations only."""
        return summed_gaussian(stream, self.dimension, shares, variance)

    @property
    def _sensitivity(self) -> float:
        """How far apart neighboring sums may be on the grid, in its units."""
        return SIGMA * math.sqrt(self.shares) / self.noise_multiplier
