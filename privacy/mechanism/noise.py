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

How fast. C[j] is kept in two words of 64 bits. A draw's first word w lies in one of 2^17 equal buckets, by its top
bits, and for each bucket a guide holds how many high words lie below it (Chen and Asau 1974). Where none lies in
the bucket, seven times of ten, that number is the magnitude. Where one does, comparing w with it decides. Else w is
searched for among all of them. Either way the high words below w are counted: the guide says where to look, never
what is drawn. A draw, and the bytes of the stream that it takes, are those of a search alone, so parties whose
versions draw at other speeds draw the same. A test holds this against that search.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple, NoReturn

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

_TABLES = 8  # are kept: two cohorts of another size, each with shares in four parts; 33 MB at most

_KEY_BYTES = 32
_HASH, _FROM_ZERO = SHA256(), modes.CTR(bytes(16))
_BUFFER_BYTES = 4096
_GUIDE_BITS = 17  # 512 KiB at most: a larger guide decides more at once, and falls out of a core's cache
_BLOCK = 2**14  # draws at once, for the same reason
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
        if end <= len(self._buffer):
            taken = self._buffer[self._position : end]
            self._position = end
            return taken
        left = self._buffer[self._position :]
        missing = size - len(left)
        ahead = 0 if missing >= _BUFFER_BYTES else _BUFFER_BYTES  # many bytes at once are handed out uncopied
        fresh = self._fresh(missing + ahead)
        self._buffer, self._position = fresh if ahead else b"", missing if ahead else 0
        return left + (fresh[:missing] if ahead else fresh)

    def words(self, size: int) -> NDArray[np.uint64]:
        """`size` independent integers, uniform below 2^64."""
        return np.frombuffer(self.take(8 * size), "<u8").astype(np.uint64, copy=False)

    def derive(self, label: str) -> Stream:
        """An independent stream, determined by this one's key and the label. ValueError for a used label."""
        self._note(label)
        return Stream(_expand(self._key, "derive/" + label))

    def _note(self, label: str) -> None:
        if label in self._derived:
            raise ValueError(f"the stream {label!r} was derived before; its bytes must not be drawn twice")
        self._derived.add(label)

    def _fresh(self, size: int) -> bytes:
        """Bytes that were never drawn. The cipher is made when the first is asked for."""
        if self._encryptor is None:
            # The counter may start at zero: this key comes from the stream's key alone and serves only here.
            key = _expand(self._key, "keystream")
            self._encryptor = Cipher(algorithms.AES256(key), _FROM_ZERO).encryptor()
        return self._encryptor.update(bytes(size))

    def __repr__(self) -> str:
        return "Stream(<secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Stream cannot be copied or pickled: its bytes must not be drawn twice")


class Table(NamedTuple):
    """C of one variance as high and low words, and the guide to it.

    `guide` holds for each bucket how many high words are below it; inverted, so negative, where some are in it.
    """

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    guide: NDArray[np.int32]
    bits: int  # the guide has 2^bits buckets


def table_of(variance: int) -> Table:
    """What N_Z(0, `variance`) is drawn from, for a variance from 16 on; the smaller, the smaller are its errors."""
    high, low = _cumulative(variance)
    bits = min(_GUIDE_BITS, len(high).bit_length() + 1)
    inside = np.bincount(_buckets(high, bits), minlength=1 << bits)
    below = (np.cumsum(inside) - inside).astype(np.int32)
    return Table(high, low, np.where(inside > 0, ~below, below), bits)


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
    return draw(stream, size, _kept_table(variance))


def draw(stream: Stream, size: int, table: Table) -> NDArray[np.int64]:
    """`size` independent draws from a table, as `discrete_gaussian`."""
    drawn, ties = np.empty(size, np.int64), []
    for start in range(0, size, _BLOCK):
        words = stream.words(min(_BLOCK, size - start))
        drawn[start : start + _BLOCK], tied = _magnitudes(table, words)
        ties += [(start + int(at), words[at]) for at in tied]
    # The first word alone decides unless it equals a word of the table, once in 2^46 draws.
    for at, word in ties:
        end = np.searchsorted(table.high, word, side="right")
        drawn[at] += np.searchsorted(table.low[drawn[at] : end], stream.words(1)[0], side="right")
    # Zero has no sign to flip, and its probability was not doubled in the table: it is counted once.
    bits = np.frombuffer(stream.take((size + 7) // 8), np.uint8)
    for start in range(0, size, _BLOCK):
        block = drawn[start : start + _BLOCK]
        negative = np.unpackbits(bits[start // 8 : (start + _BLOCK) // 8], count=len(block)).view(np.int8)
        block *= 1 - 2 * negative
    return drawn


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
def _kept_table(variance: int) -> Table:
    return table_of(variance)


def _buckets(words: NDArray[np.uint64], bits: int) -> NDArray[np.int64]:
    return (words >> np.uint64(64 - bits)).view(np.int64)


def _magnitudes(table: Table, words: NDArray[np.uint64]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """How many high words are below each of `words`, and which of `words` equal one."""
    counts = table.guide.take(_buckets(words, table.bits))
    near = np.flatnonzero(counts < 0)
    word, count = words.take(near), ~counts.take(near)
    count += table.high.take(count) < word  # the last high word is 2^64 - 1, so no index ends beyond it
    more = np.flatnonzero(table.high.take(count) < word)
    count[more] = np.searchsorted(table.high, word.take(more), side="left")
    counts[near] = count
    return counts, near[table.high.take(count) == word]


def _cumulative(variance: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
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
    """2^256 exp(-1 / (2 variance)) by its series, until its terms are below 2^-256."""
    total = term = 1 << _FRACTION_BITS
    order = 0
    while term:
        order += 1
        term = -term // (2 * variance * order)
        total += term
    return total


def _expand(key: bytes, label: str) -> bytes:
    return HKDFExpand(_HASH, _KEY_BYTES, b"privacy/stream/1/" + label.encode()).derive(key)
