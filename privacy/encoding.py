"""Floats to ring integers and back, with headroom for the whole cohort.

A site's vector becomes integers on a grid of spacing `step`, and these become residues mod 2^ring_bits, which masks
can hide perfectly. Sums in the ring are sums of integers as long as nothing wraps around, and nothing can:
every site contributes at most `limit` in magnitude before noise (`encode` refuses more), at most `cohort` sites
contribute, and all their noise together is at most `headroom`; so every true sum, whole or partial, lies within
+-(cohort limit + headroom), and `ring_bits` is chosen so that this is below 2^(ring_bits - 1), where the centered
representative of a residue is unique. If a site cheats, the sum is wrong but nothing is revealed: reduction mod
2^ring_bits is post-processing.

This is the one file where tensors (floats) and arrays (ring elements) meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from privacy.errors import UnsafeParameters

RingVector: TypeAlias = NDArray[np.uint64]
Integers: TypeAlias = NDArray[np.int64]

MAX_RING_BITS = 62  # partial sums of residues fit in 64 bits with two to spare
MAX_LIMIT = 2**52  # float64 still has a half at this size, so rounding to the nearest integer is exact


class EncodingOverflow(ArithmeticError):
    """A vector holds NaN, or more than the codec's limit: training diverged, or was never bounded."""


@dataclass(frozen=True)
class Codec:
    """How `cohort` sites send float vectors through the ring.

    `step` is the grid spacing, `limit` the largest integer one site may contribute before noise, `headroom` the
    largest magnitude of the noise of all of them together, in grid units.
    """

    step: float
    limit: int
    headroom: int
    cohort: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.step) and self.step > 0):
            raise UnsafeParameters("a grid's step must be finite and above 0")
        if not 1 <= self.limit <= MAX_LIMIT or self.headroom < 0 or self.cohort < 1:
            raise UnsafeParameters("a codec's limit, headroom or cohort is out of range")
        if self.ring_bits > MAX_RING_BITS:
            raise UnsafeParameters(
                f"sums of {self.cohort} sites need {self.ring_bits} bits, the ring has at most {MAX_RING_BITS}",
                hint="fewer sites, smaller batches or a coarser grid",
            )

    @property
    def ring_bits(self) -> int:
        """The fewest bits with cohort * limit + headroom < 2^(bits - 1)."""
        return (self.cohort * self.limit + self.headroom).bit_length() + 1

    def encode(self, x: Tensor) -> Integers:
        """`x` (d,) in grid units, rounded half to even. EncodingOverflow beyond the limit or for NaN."""
        scaled = torch.round(x.detach().to(torch.float64) / self.step).numpy()
        if not bool(np.all(np.abs(scaled) <= self.limit)):  # written so that NaN fails as well
            raise EncodingOverflow("a vector left the range of the ring")
        return scaled.astype(np.int64)

    def to_ring(self, integers: Integers) -> RingVector:
        """Residues mod 2^ring_bits."""
        return integers.astype(np.uint64) & np.uint64((1 << self.ring_bits) - 1)

    def from_ring(self, residues: RingVector) -> Integers:
        """The representatives in [-2^(ring_bits - 1), 2^(ring_bits - 1))."""
        half = np.uint64(1 << (self.ring_bits - 1))
        mask = np.uint64((1 << self.ring_bits) - 1)
        return ((residues + half) & mask).astype(np.int64) - np.int64(half)

    def decode(self, integers: Integers) -> Tensor:
        """Grid units back to floats, float64."""
        return torch.from_numpy(integers.astype(np.float64) * self.step)
