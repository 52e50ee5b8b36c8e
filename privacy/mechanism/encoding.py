"""Encoding: floats to ring integers and back, with headroom for the whole cohort.

A site's vector becomes integers on a grid of spacing `step`, and these become residues mod 2^ring_bits, which masks
can hide perfectly. Sums in the ring equal sums of integers as long as nothing wraps around, and nothing can:
every site contributes at most `limit` in magnitude before noise (`encode` refuses more), at most `cohort` sites
contribute, and all their noise together is at most `headroom`; so every true sum, whole or partial, lies within
+-(cohort limit + headroom), and `ring_bits` is chosen so that this is below 2^(ring_bits - 1), where the centered
representative of a residue is unique. If a site cheats, the sum is wrong but nothing is revealed: reduction mod
2^ring_bits is post-processing.

Why it cannot wrap, whichever way a vector is rounded: a coordinate x / step of magnitude at most `limit` lies
between two integers of magnitude at most `limit`, as `limit` is one itself; one above it by less than half is
brought back to `limit`, and all others are refused.

Stochastic rounding goes up with the probability of the fraction above the lower neighbor: its expectation is the
coordinate itself, so that the mean of many sites errs by noise alone, of variance at most step^2 / 4 a site, and
not by a drift that all sites share. The coins are independent of the data, and with the coins fixed it is a
rounding as any other: it is monotone, and two coordinates end less than one step further apart than they were,
which is all that a sensitivity computed for rounded vectors relies on.

This is the one file where tensors (floats) and arrays (ring elements) meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from privacy.errors import UnsafeParameters
from privacy.mechanism.noise import Stream

if TYPE_CHECKING:
    from torch import Tensor

RingVector: TypeAlias = NDArray[np.unsignedinteger]
Integers: TypeAlias = NDArray[np.int64]
Words: TypeAlias = NDArray[np.uint64]

_MAX_RING_BITS = 62  # partial sums of residues fit in 64 bits with two to spare
_BLOCK = 2**14  # numbers at once, so that a core's cache holds what becomes of them
_MOST_ROWS = 255  # whose coins are added up in a byte
_MAX_LIMIT = 2**52  # float64 still has a half at this size, so rounding to the nearest integer is exact


class EncodingOverflow(ArithmeticError):
    """A vector holds NaN, or more than the codec's limit: training diverged, or was never bounded.

    `row`: of several vectors, the first that does.
    """

    row = 0


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
        if not 1 <= self.limit <= _MAX_LIMIT or self.headroom < 0 or self.cohort < 1:
            raise UnsafeParameters("a codec's limit, headroom or cohort is out of range")
        if self.ring_bits > _MAX_RING_BITS:
            raise UnsafeParameters(
                f"sums of {self.cohort} sites need {self.ring_bits} bits, the ring has at most {_MAX_RING_BITS}",
                hint="fewer sites, smaller batches or a coarser grid",
            )

    @property
    def ring_bits(self) -> int:
        """The fewest bits with cohort * limit + headroom < 2^(bits - 1)."""
        return (self.cohort * self.limit + self.headroom).bit_length() + 1

    def encode(self, x: Tensor, coins: Stream | None = None) -> Integers:
        """`x` (d,) in grid units, none beyond the limit: rounded half to even, or by coins from a stream.

        By coins, the expectation is within 2^-52 steps of `x`. EncodingOverflow beyond the limit or for NaN.
        """
        words = None if coins is None else coins.words(x.numel())[None]
        integers: Integers = self.encode_rows(x[None], words)[0]
        return integers

    def encode_rows(self, rows: Tensor, words: Words | None = None) -> Integers:
        """`encode` of each row of `rows` (n, d). `words` (n, d), uniform below 2^64, are the coins of them."""
        flat = _exact(rows).contiguous().view(-1).numpy()
        coins = None if words is None else words.reshape(-1)
        integers = np.empty(len(flat), np.int64)
        for start in range(0, len(flat), _BLOCK):
            block = slice(start, start + _BLOCK)
            scaled = self._scaled(flat[block])
            # Rounding is monotone, so the ends tell; they are NaN if any of them is, and NaN fails a comparison.
            if not (np.rint(scaled.max()) <= self.limit and np.rint(scaled.min()) >= -self.limit):
                raise self._overflow(scaled, start, rows.shape[1])
            if coins is None:
                integers[block] = np.rint(scaled, out=scaled)
            else:
                rounded = _round_by_coins(scaled, coins[block])
                integers[block] = np.clip(rounded, -self.limit, self.limit, out=rounded)
        return integers.reshape(tuple(rows.shape))

    def encode_sum(self, rows: Tensor, words: Words | None = None) -> Integers:
        """The sum (d,) of `encode_rows`, without a matrix of integers.

        Blocks of whole rows, in floats: whole numbers up to the limit, of so few rows that their sums are exact.
        """
        exact = _exact(rows)
        matrix, total = exact.numpy(), np.zeros(rows.shape[1], np.int64)
        count = min(_MOST_ROWS, max(1, _BLOCK // max(1, len(total))))
        for start in range(0, len(matrix), count):
            for left in range(0, len(total), _BLOCK):
                block = slice(start, start + count), slice(left, left + _BLOCK)
                coins = None if words is None else words[block]
                summed = self._summed(matrix[block], coins)
                if summed is None:
                    summed = self._with_care(exact[block], coins, start)
                total[block[1]] += summed
        return total

    def _summed(self, block: NDArray[Any], coins: Words | None) -> Integers | None:
        """The sum of a block; None unless it is clear that all of it is within the limit by one."""
        scaled, most = self._scaled(block), self.limit - 1
        inside = scaled.max() <= most and scaled.min() >= -most  # NaN fails a comparison
        if not inside or len(block) * self.limit >= 2**53:
            return None
        if coins is None:
            nearest: Integers = np.rint(scaled, out=scaled).sum(axis=0).astype(np.int64)
            return nearest
        lower, upper = _neighbors(scaled, coins)
        found: Integers = lower.sum(axis=0).astype(np.int64)
        found += np.add.reduce(upper.view(np.uint8), axis=0, dtype=np.uint8)
        return found

    def _scaled(self, block: NDArray[Any]) -> NDArray[np.float64]:
        """Numbers in steps. To multiply by a power of two is to divide by another, to the bit, in half the time."""
        mantissa, exponent = math.frexp(self.step)
        if mantissa == 0.5 and abs(exponent) < 1000:
            times: NDArray[np.float64] = np.multiply(block, 1 / self.step, dtype=np.float64)
            return times
        divided: NDArray[np.float64] = np.divide(block, self.step, dtype=np.float64)
        return divided

    def _with_care(self, block: Tensor, coins: Words | None, start: int) -> Integers:
        """The same where one may be beyond the limit, or be brought back to it."""
        try:
            found: Integers = self.encode_rows(block, coins).sum(axis=0)
        except EncodingOverflow as error:
            error.row += start
            raise
        return found

    def _overflow(self, scaled: NDArray[np.float64], start: int, columns: int) -> EncodingOverflow:
        """What is wrong with numbers that begin at place `start` of a matrix with so many columns."""
        error = EncodingOverflow("a vector left the range of the ring")
        error.row = (start + int(np.flatnonzero(~(np.abs(np.rint(scaled)) <= self.limit))[0])) // columns
        return error

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
        import torch  # a second of loading that sizes alone, as of `federation check`, do without

        return torch.from_numpy(integers.astype(np.float64) * self.step)


def _exact(rows: Tensor) -> Tensor:
    """The same numbers on this machine's processor, in float32 if they are, else in float64."""
    given = rows.detach().cpu()
    return given if given.is_floating_point() and given.element_size() == 4 else given.double()


def _round_by_coins(scaled: NDArray[np.float64], words: Words) -> NDArray[np.float64]:
    """Each to one of its two neighbors, by coins. What is left in `scaled` is the fractions."""
    lower, upper = _neighbors(scaled, words)
    lower += upper
    return lower


def _neighbors(scaled: NDArray[np.float64], words: Words) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The lower neighbor of each, and whether it goes to the upper one: if 53 random bits, as a fraction, fall
    below its own. What is left in `scaled` is the fractions.
    """
    lower = np.floor(scaled)
    bits = (words >> np.uint64(11)).view(np.int64)  # the same number, and as a signed one a float sooner
    uniform = np.multiply(bits, 2.0**-53)
    return lower, uniform < np.subtract(scaled, lower, out=scaled)
