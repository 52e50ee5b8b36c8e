"""What an opened sum may be: all that honest sites can have sent, and the noise that is on it.

A kind says what its honest sites send at most (`Span`), before noise and after rounding; every site makes sure of
that itself, whatever its data are (`on_grid`). Noise has no bound that is worth checking, but a tail that is known.

The tail. A draw of N_Z(0, s^2) is sub-Gaussian: E exp(u X) <= exp(u^2 s^2 / 2) for every u (Canonne, Kamath,
Steinke 2020, corollary 17), and so is a sum of independent draws, each times a factor of its own, with s^2 the sum
of their variances. For d such coordinates of deviation s and every x > 0,
    P[|X| > s sqrt(2 x)]                        <= 2 exp(-x)    one coordinate,
    P[||X|| > s sqrt(d + 2 sqrt(d x) + 2 x)] <= exp(-x) their L2 norm (Hsu, Kakade, Zhang 2012, theorem 2.1).

A run of R rounds has R d coordinates and R norms, and half of FAILURE is for each kind: x is ln(4 R d / FAILURE)
and ln(2 R / FAILURE). The table that draws come from differs from N_Z by less than 2^-109 a draw, which at 2^60
draws adds 2^-49. So a run in which all sites do what the plan says trips with probability below 2^-39, over all its
rounds. Where the noise of a step moves the next step (DP-SGD at a site), the two are not independent: so norms are
added, and nothing is gained from their directions.

It is the noised sum that is checked, also where the server adds the noise itself. The check is then
post-processing: it costs no epsilon and tells nothing that the release does not tell, even to a site that sends
what takes the sum to the edge, to see whether one record more trips it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

FAILURE = 2.0**-40  # how likely a run of honest sites is to trip, over all rounds
_FLOATS = 1e-9  # relative: by how much float64 may err in a sum, a norm and a limit

Check = Literal["coordinate", "norm"]


@dataclass(frozen=True)
class Span:
    """What honest sites send: each coordinate from `lowest` to `highest`, the L2 norm at most `norm`, before noise.

    `deviation`: of the noise on each coordinate. `most`: the largest magnitude of a coordinate that can be sent at
    all, noise and all; infinity where noise is added after the bound.
    """

    lowest: float
    highest: float
    norm: float
    deviation: float = 0.0
    most: float = math.inf

    @classmethod
    def around(cls, coordinate: float, norm: float) -> Span:
        """A span with both signs alike."""
        return cls(-coordinate, coordinate, norm)

    @classmethod
    def sum_of(cls, spans: Sequence[Span]) -> Span:
        """The span of a sum: bounds add up, and so do the variances of independent noise."""
        return cls(
            sum(span.lowest for span in spans),
            sum(span.highest for span in spans),
            sum(span.norm for span in spans),
            math.hypot(*(span.deviation for span in spans)),
            sum(span.most for span in spans),
        )

    def noised(self, deviation: float) -> Span:
        """The same under noise of this standard deviation on each coordinate."""
        return replace(self, deviation=deviation)

    def allowed(self, length: int, rounds: int) -> Span:
        """What a sum of `length` coordinates may be with its noise, in a run of so many rounds."""
        each = math.log(4 * rounds * length / FAILURE)
        whole = math.log(2 * rounds / FAILURE)
        tail = self.deviation * math.sqrt(2 * each)
        long = self.deviation * math.sqrt(length + 2 * math.sqrt(length * whole) + 2 * whole)
        return Span(
            max(self.lowest - tail, -self.most),
            min(self.highest + tail, self.most),
            min(self.norm + long, self.most * math.sqrt(length)),
        )


@dataclass(frozen=True)
class Unlikely:
    """A sum that honest sites do not make: the check that it fails, and how many times what is allowed it is."""

    check: Check
    ratio: float


def unlikely(released: Tensor, allowed: Span) -> Unlikely | None:
    """What is wrong with a sum, float64 (d,); None if nothing is. Of two checks that fail, the worse one."""
    return unlikely_in((released,), allowed)


def unlikely_in(released: Iterable[Tensor], allowed: Span) -> Unlikely | None:
    """The same of a sum in parts.

    A coordinate is measured from the middle of what is allowed.
    """
    middle, half = (allowed.highest + allowed.lowest) / 2, (allowed.highest - allowed.lowest) / 2
    apart, squares = -math.inf, 0.0
    for part in released:
        numbers = part.numpy()
        apart = max(apart, float(max(numbers.max() - middle, middle - numbers.min())))
        squares += float(np.einsum("i,i->", numbers, numbers))
    found = (Unlikely("coordinate", apart / half), Unlikely("norm", math.sqrt(squares) / allowed.norm))
    worst = max(found, key=lambda one: one.ratio)
    return worst if worst.ratio > 1 + _FLOATS else None
