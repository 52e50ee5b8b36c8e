"""The Gaussian mechanism: a clipping norm, integer noise and the event that both make, as one object.

The mechanism. A sum x of clipped vectors (one record or client more or less moves it by at most C in L2) is rounded
to a grid, x / step, and every share-holder adds N_Z(0, s^2) to each coordinate, s = SIGMA. The release is an
integer vector. Floating-point noise would leak: its low bits can identify the data (Mironov 2012).

The scale. Rounding moves each coordinate by at most 1/2, so two neighboring sums are at most C / step + sqrt(d)
apart on the grid. `step` makes the noise that the guarantee counts on, s sqrt(shares), `noise_multiplier` times
this. The noise stays what it is and the data is scaled to it.

The width. What sqrt(d) adds to the sensitivity is paid in noise, at most a tenth of it. A model that is too large
for that takes a wider noise, s = SIGMA 2^k, which makes the grid 2^k times as fine: the least k = 1..8 at which
rounding adds at most a fortieth (`privacy.mechanism.wide`, docs/decisions/0052). Each k costs a bit of upload a
coordinate. Which k it is follows from d, `shares` and `noise_multiplier`, which are public: all parties find the
same, and what a smaller model is noised with stays as it was, bit by bit.

The guarantee, at every width, is that of the continuous Gaussian mechanism with the same noise multiplier, in every
accounting that holds for it (Poisson sampling, adaptive composition), up to a slack far below what is printed:
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
     mechanism's, for both neighbors: epsilon grows by at most 20 d T / S^4. As S is at least 11 sqrt(d) times the
     noise multiplier z, that is at most T / (6 z^2 S^2), the less the wider. What lies beyond 13 S, and the errors
     of the draws (`privacy.mechanism.noise`, `privacy.mechanism.wide`), is less than n d T 2^-107 of the mass, and
     adds (1 + e^epsilon) times that to delta: 2^-47 times it for 2^10 shares of 2^30 coordinates in 2^20 steps. The
     factors of a wide draw, 1 +- 2^-197 each, add less than all that to epsilon.
  4. S^2 - 1/12 instead of S^2 costs 1 / (24 S^2) < 2^-32 of the noise multiplier. FLOAT_SLACK pays for it, and for
     float64's own rounding in the sum, the clip and the projection into a ball: at most 2 n^2 2^-53 C for n
     records, 2^-16 C up to n = 2^18, and 2^-50 n C beside it. The length of a vector that is clipped is a sum of d
     squares, off by at most d 2^-53 of itself in whatever order they are added: 2^-23 C for d = 2^30.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from privacy.accounting.events import GaussianEvent, is_number
from privacy.errors import UnsafeParameters
from privacy.mechanism.noise import SIGMA, VARIANCE, Stream, discrete_gaussian, max_draw
from privacy.mechanism.summed import summed_gaussian
from privacy.mechanism.wide import BLOCK, WIDTHS, wide_blocks, wide_gaussian

FLOAT_SLACK = 2.0**-16  # by how much, relatively, float arithmetic may move a neighboring sum further than C
_MAX_ROUNDING = 1 / 10  # of the sensitivity may be added by rounding before a wider noise is taken
_MAX_WIDE = 1 / 40  # and by rounding under that one


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
        _ = self.width

    @cached_property
    def width(self) -> int:
        """How many times SIGMA a share's standard deviation is, and the grid finer: 1, or a power of two."""
        added = math.sqrt(self.dimension)
        for width in (1, *WIDTHS):
            most = _MAX_ROUNDING if width == 1 else _MAX_WIDE
            if added <= most * (width * self._usual_sensitivity - added):
                return width
        raise UnsafeParameters(
            f"{self.dimension} parameters are too many for noise multiplier {self.noise_multiplier:g}",
            hint="train fewer parameters, allow a larger epsilon, or use more sites",
        )

    @property
    def deviation(self) -> int:
        """The standard deviation of a whole share, in grid units."""
        return SIGMA * self.width

    @property
    def max_draw(self) -> int:
        """The largest magnitude of a whole share that is drawn at once."""
        return self.most(VARIANCE)

    def most(self, variance: int) -> int:
        """The largest magnitude of a part of a share that has this variance at the usual width."""
        return max_draw(self.width * self.width * variance)

    @property
    def step(self) -> float:
        """The grid spacing: deviation sqrt(shares) = noise_multiplier ((1 + FLOAT_SLACK) C / step + sqrt(d))."""
        sensitivity = self.width * self._usual_sensitivity
        return (1 + FLOAT_SLACK) * self.clipping_norm / (sensitivity - math.sqrt(self.dimension))

    @property
    def event(self) -> GaussianEvent:
        """One release of this mechanism, as the accountant sees it."""
        return GaussianEvent(self.noise_multiplier, self.sample_rate, 1)

    def noise(self, stream: Stream, variance: int = VARIANCE) -> NDArray[np.int64]:
        """One share, or a part of it with this variance at the usual width: `dimension` draws in grid units."""
        return self._drawn(stream, self.dimension, variance)

    def noise_blocks(self, stream: Stream, variance: int = VARIANCE) -> Iterator[NDArray[np.int64]]:
        """The numbers of `noise`, in blocks. At the usual width they are drawn at once."""
        if self.width == 1:
            drawn = self.noise(stream, variance)
            return (drawn[start : start + BLOCK] for start in range(0, self.dimension, BLOCK))
        return wide_blocks(stream, self.dimension, variance, self.width)

    def noise_rows(self, stream: Stream, count: int) -> NDArray[np.int64]:
        """`count` independent shares (count, `dimension`), for as many sums."""
        return self._drawn(stream, count * self.dimension, VARIANCE).reshape(count, self.dimension)

    def noise_of(self, stream: Stream, shares: int, variance: int = VARIANCE) -> NDArray[np.int64]:
        """The sum of so many independent shares, or of parts of them, as `noise`. For simulations only."""
        return summed_gaussian(stream, self.dimension, shares, variance, self.width)

    def _drawn(self, stream: Stream, size: int, variance: int) -> NDArray[np.int64]:
        if self.width == 1:
            return discrete_gaussian(stream, size, variance)
        return wide_gaussian(stream, size, variance, self.width)

    @property
    def _usual_sensitivity(self) -> float:
        """How far apart neighboring sums may be on the grid of width 1, in its units."""
        return SIGMA * math.sqrt(self.shares) / self.noise_multiplier
