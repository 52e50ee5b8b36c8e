"""Noise: the exact discrete Gaussian, and Poisson sampling, both from a cryptographic stream.

One integer noise serves every mechanism: the discrete Gaussian N_Z(0, s^2) with s = SIGMA = 2^14,

    P[k] = exp(-k^2 / (2 s^2)) / Z,    k an integer

(Canonne, Kamath, Steinke 2020, "The discrete Gaussian for differential privacy"). Mechanisms scale their data to it
(`privacy.mechanism.gaussian`), so its cumulative table is computed once, in integers. No floating-point number
enters a draw, so the attacks of Mironov (2012) on floating-point noise do not apply. Where a share is drawn in
parts (`privacy.mechanism.excess`), each part has a smaller variance, an integer too, and a table of its own.

How exact. A draw inverts C[j] = floor(2^128 P[|k| <= j]) at a uniform 128-bit number and takes its sign from a
bit of its own. Three errors remain, all below what anyone can observe, and none is larger for a smaller variance:
  rounding   each C[j] is at most one unit low, and neighbors share it: total variation <= MAX_DRAW 2^-128 < 2^-110;
  tail       P[|k| > MAX_DRAW] < 2 exp(-13.5^2 / 2) < 2^-130, moved onto MAX_DRAW;
  arithmetic fewer than 2^56 truncations of 256-bit fractions: < 2^-200.
So a draw is within 2^-109 of N_Z(0, s^2) in total variation. Tested against an independent computation.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NoReturn

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from numpy.typing import NDArray

from privacy.errors import UnsafeParameters

SIGMA = 2**14  # standard deviation of the one integer noise, in grid units
MAX_DRAW = 27 * 2**13  # 13.5 SIGMA: no draw is larger
VARIANCE = SIGMA**2
MIN_VARIANCE = 2**20  # of a part: for smaller ones nothing here was shown

_TABLES = 8  # are kept: two cohorts of another size, each with shares in four parts; 28 MB at most

_KEY_BYTES = 32
_HASH, _FROM_ZERO = SHA256(), modes.CTR(bytes(16))
_BUFFER_BYTES = 4096
_FRACTION_BITS = 256
_WORD = 2**64


class Stream:
    """An endless stream of secret bytes, a function of a 32-byte key: AES-256 in counter mode.

    A Stream cannot be copied or pickled, and it derives a label only once. Two copies would draw the same noise,
    and the difference of two releases with the same noise is free of noise.
    """

    __slots__ = ("_buffer", "_derived", "_encryptor", "_key", "_position")

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a stream's key has {_KEY_BYTES} bytes")
        self._key = key
        self._derived: set[str] = set()
        self._encryptor: CipherContext | None = None  # a stream may only derive others
        self._buffer, self._position = b"", 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._position + size
        if end > len(self._buffer):
            left = self._buffer[self._position :]
            self._buffer = left + self._keystream().update(bytes(max(size - len(left), _BUFFER_BYTES)))
            self._position, end = 0, size
        taken = self._buffer[self._position : end]
        self._position = end
        return taken

    def words(self, size: int) -> NDArray[np.uint64]:
        """`size` independent integers, uniform below 2^64."""
        return np.frombuffer(self.take(8 * size), "<u8").astype(np.uint64, copy=False)

    def derive(self, label: str) -> Stream:
        """An independent stream, determined by this one's key and the label. ValueError for a used label."""
        if label in self._derived:
            raise ValueError(f"the stream {label!r} was derived before; its bytes must not be drawn twice")
        self._derived.add(label)
        return Stream(_expand(self._key, "derive/" + label))

    def _keystream(self) -> CipherContext:
        """The cipher, made when the first byte is asked for."""
        if self._encryptor is None:
            # The counter may start at zero: this key comes from the stream's key alone and serves only here.
            key = _expand(self._key, "keystream")
            self._encryptor = Cipher(algorithms.AES256(key), _FROM_ZERO).encryptor()
        return self._encryptor

    def __repr__(self) -> str:
        return "Stream(<secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Stream cannot be copied or pickled: its bytes must not be drawn twice")


def max_draw(variance: int) -> int:
    """The largest magnitude of a draw: 13.5 standard deviations, rounded up.

    >>> max_draw(VARIANCE) == MAX_DRAW
    True
    """
    return math.isqrt((27 * 27 * variance - 1) // 4) + 1


def discrete_gaussian(stream: Stream, size: int, variance: int = VARIANCE) -> NDArray[np.int64]:
    """`size` independent draws of N_Z(0, `variance`), each at most `max_draw(variance)` in magnitude.

    UnsafeParameters for a variance out of [MIN_VARIANCE, VARIANCE], for which nothing here was shown.
    """
    if not MIN_VARIANCE <= variance <= VARIANCE:
        raise UnsafeParameters(f"no noise of variance {variance} is drawn here")
    high, low = _cumulative(variance)
    first = stream.words(size)
    magnitudes = np.searchsorted(high, first, side="left")
    # The first word alone decides unless it equals a word of the table, once in 2^46 draws.
    undecided = high[np.minimum(magnitudes, len(high) - 1)] == first
    for index in np.flatnonzero(undecided):
        end = np.searchsorted(high, first[index], side="right")
        rest = low[magnitudes[index] : end]
        magnitudes[index] += np.searchsorted(rest, stream.words(1)[0], side="right")
    bits = np.frombuffer(stream.take((size + 7) // 8), np.uint8)
    negative = np.unpackbits(bits, count=size).astype(bool)
    # Zero has no sign to flip, and its probability was not doubled in the table: it is counted once.
    return np.where(negative, -magnitudes, magnitudes).astype(np.int64, copy=False)


def poisson_sample(stream: Stream, population: int, rate: float) -> NDArray[np.int64]:
    """Indices below `population`, ascending, each included by itself with probability `rate`.

    The probability is the float `rate` itself, rounded down to a multiple of 2^-64; rate 1 includes everyone.
    Opacus's own sampler would round the rate to 1 / (number of batches).
    """
    if not 0 < rate <= 1:
        raise UnsafeParameters("a sample rate must be above 0 and at most 1")
    if rate == 1:
        return np.arange(population, dtype=np.int64)
    threshold = np.uint64(int(rate * 2.0**64))  # scaling a float by a power of two is exact
    return np.flatnonzero(stream.words(population) < threshold).astype(np.int64, copy=False)


@lru_cache(maxsize=_TABLES)
def _cumulative(variance: int = VARIANCE) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """High and low words of C[j] = floor(2^128 P[|k| <= j]) for j = 0 .. max_draw(variance) - 1."""
    sums = _partial_sums(variance)
    total = sums[-1]
    scaled = [(partial << 128) // total for partial in sums[:-1]]
    high = np.array([value >> 64 for value in scaled], np.uint64)
    low = np.array([value & (_WORD - 1) for value in scaled], np.uint64)
    return high, low


def _partial_sums(variance: int) -> list[int]:
    """2^256 times the sum of exp(-k^2 / (2 variance)) over |k| <= j, for j = 0 .. max_draw(variance).

    From exp(-x^2) with x^2 = k^2 / (2 s^2): the ratio of neighboring weights k and k + 1 is
    exp(-(2k + 1) / (2 s^2)), and these ratios in turn fall by the constant factor exp(-1 / s^2).
    """
    weight = 1 << _FRACTION_BITS
    ratio = _exp_of_minus_half_inverse(variance)
    decay = ratio * ratio >> _FRACTION_BITS
    sums = [weight]
    for _ in range(max_draw(variance)):
        weight = weight * ratio >> _FRACTION_BITS
        ratio = ratio * decay >> _FRACTION_BITS
        sums.append(sums[-1] + 2 * weight)
    return sums


def _exp_of_minus_half_inverse(variance: int) -> int:
    """2^256 exp(-1 / (2 variance)) by its series: fifteen terms reach below 2^-256."""
    total = term = 1 << _FRACTION_BITS
    for order in range(1, 16):
        term = -term // (2 * variance * order)
        total += term
    return total


def _expand(key: bytes, label: str) -> bytes:
    return HKDFExpand(_HASH, _KEY_BYTES, b"privacy/stream/1/" + label.encode()).derive(key)
