"""Wide noise: the discrete Gaussian of a grid up to 256 times as fine, for models too large for the usual one.

Rounding moves two neighboring sums of d coordinates up to sqrt(d) apart, so a large model needs a finer grid, and
so noise of more grid units (`privacy.mechanism.gaussian`). A share of it has the variance 4^k VARIANCE, k = 1..8,
or a part of that. Its own table would have 2^19 to 2^26 entries, and fit in no cache. So a draw of the variance w
is composed of two, each from a smaller table:

    N_Z(0, w) = c N_Z(0, a) + N_Z(0, b),    w = c^2 a + b,    c = 256,    8 c^2 <= b < 9 c^2,

a and b whole numbers. What a real party draws here is a share of its own, as in `privacy.mechanism.noise`.

How exact. For the exact laws, with h = a b / w, completing the square gives, as in `privacy.mechanism.summed`,
    P[k] = exp(-k^2 / (2 w)) sum over j of exp(-(j - k c a / w)^2 / (2 h)) / (Z_a Z_b).
By Poisson summation the inner sum is sqrt(2 pi h) within a factor 1 +- 2.1 exp(-2 pi^2 h), whatever k, and what is
left is N_Z(0, w) up to a constant, which is within that factor, too. As w >= 4 MIN_VARIANCE = 2^22, a is at least
56. With b / c^2 >= 8 that makes h = a (b / c^2) / (a + b / c^2) >= 7. So every probability of the composed law is
that of N_Z(0, w) within a factor 1 +- 5 exp(-14 pi^2), which is 1 +- 2^-197. In total variation there is beside it:
  tables     a is at most VARIANCE - 8, so a draw of it is within 2^-109 of N_Z(0, a), and closer for smaller
             variances: `privacy.mechanism.noise`. The table of b has at most 10,368 entries: within 2^-114;
  the cut    at `max_draw(w)`, 13.5 standard deviations of N_Z(0, w): moves less than 2^-129.
So a draw is within 2^-108 of N_Z(0, w) in total variation, where one of the usual grid is within 2^-109.

Draws are made in blocks of 2^14, one after the other. Each block takes from the stream what its draws of a need,
then what its draws of b need. So however many blocks are asked for at once, the noise is the same, and nobody has
to hold more of it than a block. The order is part of the protocol: who takes a part of the noise out of a sum again
draws it a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.errors import UnsafeParameters
from privacy.mechanism.noise import MIN_VARIANCE, VARIANCE, Stream, Table, draw, max_draw, table_of

WIDTHS: tuple[int, ...] = tuple(2**k for k in range(1, 9))
"""How many times as fine as the usual grid: 2^k."""
BLOCK = 2**14
"""Draws that take their bytes of the stream together."""

_SCALE = 256  # c
_SMOOTH = 8  # b / c^2, rounded down
_TABLES = 16  # are kept: shares in four parts of two cohorts; 4 MB each at most


def wide_gaussian(stream: Stream, size: int, variance: int, width: int) -> NDArray[np.int64]:
    """`size` independent draws of N_Z(0, width^2 `variance`) as one array: see `wide_blocks`."""
    drawn, start = np.empty(size, np.int64), 0
    for block in wide_blocks(stream, size, variance, width):
        drawn[start : start + len(block)] = block
        start += len(block)
    return drawn


def wide_blocks(stream: Stream, size: int, variance: int, width: int) -> Iterator[NDArray[np.int64]]:
    """`size` independent draws of N_Z(0, width^2 `variance`), in blocks of BLOCK, the last one shorter.

    Each is at most `max_draw(width * width * variance)` in magnitude. UnsafeParameters for a variance out of
    [MIN_VARIANCE, VARIANCE] or a width that is not in WIDTHS, for which nothing here was shown.
    """
    if not MIN_VARIANCE <= variance <= VARIANCE or width not in WIDTHS:
        raise UnsafeParameters(f"no noise of {width} times {width} the variance {variance} is drawn here")
    coarse, fine = parts_of(width * width * variance)
    tables, most = (_kept_table(coarse), _kept_table(fine)), max_draw(width * width * variance)
    return (_composed(stream, min(BLOCK, size - start), tables, most) for start in range(0, size, BLOCK))


def parts_of(variance: int) -> tuple[int, int]:
    """What a variance is composed of: a and b, as above."""
    whole, rest = divmod(variance, _SCALE**2)
    return whole - _SMOOTH, rest + _SMOOTH * _SCALE**2


def _composed(stream: Stream, size: int, tables: tuple[Table, Table], most: int) -> NDArray[np.int64]:
    drawn = draw(stream, size, tables[0])
    drawn *= _SCALE
    drawn += draw(stream, size, tables[1])
    return np.clip(drawn, -most, most, out=drawn)


@lru_cache(maxsize=_TABLES)
def _kept_table(variance: int) -> Table:
    return table_of(variance)
