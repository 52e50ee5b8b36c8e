"""The noise of a sum, drawn once: for simulations, where nobody could see the shares that it is a sum of.

A real party draws its own share (`privacy.mechanism.noise`) and never calls this: who knows the noise of a sum can
take it off. A simulation holds every share anyway, and what it shows is the sum. There n shares of N_Z(0, v) may be
one draw of N_Z(0, n v), as far as anybody could tell:
  shares     by (1.) of `privacy.mechanism.gaussian` every probability of their sum is that of N_Z(0, n v) up to a
             factor exp(+-10 n exp(-pi^2 2^20)), and each share is within 2^-108 of N_Z(0, v) in total variation, up
             to a factor 1 +- 2^-197 where it is a wide one (`privacy.mechanism.wide`);
  one draw   is within 2^-111 of N_Z(0, n v) in total variation, as follows.
So the two differ by less than (n + 1) 2^-108 in total variation, in each coordinate.

How it is drawn. A variance w up to 2^17 has a table as in `privacy.mechanism.noise`. A larger one is composed,
    N_Z(0, w) = c N_Z(0, a) + N_Z(0, b),    w = c^2 a + b,    c = 64,    8 c^2 <= b < 9 c^2,
of whole numbers a and b, where the first is composed in turn if a is above 2^17. For the exact laws, with Z_a and
Z_b their normalizing sums and h = a b / w, completing the square gives
    P[k] = sum over j of exp(-j^2 / (2 a) - (k - c j)^2 / (2 b)) / (Z_a Z_b)
         = exp(-k^2 / (2 w)) sum over j of exp(-(j - k c a / w)^2 / (2 h)) / (Z_a Z_b),
and by Poisson summation the inner sum is sqrt(2 pi h) within a factor 1 +- 2.1 exp(-2 pi^2 h), whatever k. The rest
is N_Z(0, w) up to a constant. As w > 2^17, a is at least 24, b / c^2 at least 8, and so h, which is
a (b / c^2) / (a + b / c^2), at least 6: each composition costs a factor of every probability within 1 +- 2^-167.
What remains is counted in total variation. A draw from a table of variance at most 2^17 is within
max_draw 2^-128 + 2^-130 + 2^-200 < 2^-115, of which there are at most six, and to cut the result at 13.5 standard
deviations moves less than 2^-129: all together less than 2^-111.

How large. The draw is at most `max_draw(n v)`, and as a root grows slower than a line, that is at most n times
`max_draw(v)`: a ring with headroom for all shares (`privacy.mechanism.encoding`) has room for their sum drawn once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from privacy.errors import UnsafeParameters
from privacy.mechanism.noise import MIN_VARIANCE, VARIANCE, Stream, Table, draw, max_draw, table_of
from privacy.mechanism.wide import WIDTHS

MAX_SHARES = 2**30

_SCALE = 64  # c
_SMOOTH = 8  # b / c^2, rounded down
_TABULATED = 2**17  # the largest variance with a table of its own: 4,888 magnitudes
_TABLES = 64  # are kept, 5 MB


def summed_gaussian(
    stream: Stream, size: int, shares: int, variance: int = VARIANCE, width: int = 1
) -> NDArray[np.int64]:
    """`size` independent draws of the sum of `shares` shares of N_Z(0, width^2 `variance`). For simulations only.

    Each is at most `max_draw(shares * width * width * variance)` in magnitude. UnsafeParameters for no share or
    more than MAX_SHARES, and for a variance or a width of which nobody draws a share.
    """
    if not 1 <= shares <= MAX_SHARES:
        raise UnsafeParameters(f"the noise of {shares} shares is not drawn at once")
    if not MIN_VARIANCE <= variance <= VARIANCE or width not in (1, *WIDTHS):
        raise UnsafeParameters(f"no noise of {width} times {width} the variance {variance} is drawn here")
    whole = shares * width * width * variance
    drawn, most = _composed(stream, size, whole), max_draw(whole)
    return np.clip(drawn, -most, most, out=drawn)


def parts_of(variance: int) -> tuple[int, int]:
    """What a variance is composed of: a and b, as above."""
    whole, rest = divmod(variance, _SCALE**2)
    return whole - _SMOOTH, rest + _SMOOTH * _SCALE**2


def _composed(stream: Stream, size: int, variance: int) -> NDArray[np.int64]:
    if variance <= _TABULATED:
        return draw(stream, size, _table(variance))
    coarse, fine = parts_of(variance)
    drawn = _composed(stream, size, coarse)
    drawn *= _SCALE
    drawn += draw(stream, size, _table(fine))
    return drawn


@lru_cache(maxsize=_TABLES)
def _table(variance: int) -> Table:
    return table_of(variance)
