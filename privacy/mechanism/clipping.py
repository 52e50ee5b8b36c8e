"""Clipping: bounds the L2 norm of examples or updates, all rows at once; non-finite rows contribute zero.

Clipping gives a sum its sensitivity: with every row at most `norm` long, adding or removing one row moves the sum
by at most `norm`. A single NaN would move it without bound (a factor min(1, norm / NaN) is NaN or, worse, 1). So a
row that is not finite is replaced by zeros, and silently: a warning would reveal that the row is there.

**Rounding.** Near the ends of a float's range a product may be off by a large share of itself: in float32, 1e38
times a factor of 1e-44 is off by a fifth, and the square of 1e-25 is 0, so the row looks short. So lengths and
factors are worked out in float64, and what goes back to float32 is rounded toward zero, which makes no vector
longer. In float16 and bfloat16 the sum of a batch alone would round by more than one row's share: both are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from privacy.accounting.events import MIN_CLIPPING_NORM
from privacy.errors import UnsafeParameters

_OFFERED = (torch.float32, torch.float64)
_LONG = 2**20  # numbers of a row that are looked at together
_ROW = 2**12
_SURELY_INSIDE = 2.0**-20  # far above the error of a norm of as many numbers as fit in memory


def clip_rows(rows: Tensor, norm: float, *, in_place: bool = False) -> Tensor:
    """Each row of `rows` (n, d) scaled down to L2 norm <= `norm`, to float64's rounding; shorter rows unchanged.

    `in_place`: the result takes the place of `rows`. Zeros for a row that holds NaN or infinity, or is so long that
    its norm overflows float64.
    """
    if rows.dtype not in _OFFERED:
        raise _refused(rows.dtype)
    parts = torch.split(rows.detach(), _LONG, dim=1)
    each = torch.stack([row_lengths(part.to(torch.float64)) for part in parts], dim=1)
    lengths = each if len(parts) == 1 else row_lengths(each)[:, None]
    factors = clip_factors(lengths, norm, torch.float64)
    clipped = rows.detach() if in_place else torch.empty_like(rows, requires_grad=False)
    for part, into in zip(parts, torch.split(clipped, _LONG, dim=1), strict=True):
        wide = part.to(torch.float64)
        scaled = torch.where(torch.isfinite(lengths), wide * factors, torch.zeros_like(wide))
        into.copy_(_toward_zero(scaled, rows.dtype))
    return clipped


def row_lengths(rows: Tensor) -> Tensor:
    """L2 norms (n,) of rows (n, ...) in float64; not finite where an entry is not, or where a square overflows."""
    flat = rows.detach().flatten(1)
    if flat.shape[1] > _LONG:  # in parts, so that nothing of their length is made beside them
        parts = torch.stack([row_lengths(part) for part in torch.split(flat, _LONG, dim=1)], dim=1)
        return row_lengths(parts)
    lengths: Tensor = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64)
    if flat.dtype is torch.float64 and flat.shape[1] > 0:  # its squares may vanish; those of a float32 do not
        most = flat.abs().amax(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
        scaled = most * torch.linalg.vector_norm(flat / most[:, None], dim=1)
        lengths = torch.where(torch.isfinite(lengths), scaled, lengths)
    return lengths


def clip_factors(lengths: Tensor, norm: float, dtype: torch.dtype) -> Tensor:
    """Factors that shorten vectors of these lengths to at most `norm`: min(1, norm / length), or 0 if not finite.

    `lengths` are in float64, and the factors in `dtype`, float32 or float64. 0 times NaN is NaN, so the caller must
    leave out a vector that is not finite, as `clip_rows` does. UnsafeParameters for a norm of 0, infinity or NaN,
    under which nothing, or everything, would be released, for one that floats cannot keep, and for other dtypes.
    """
    if not (math.isfinite(norm) and norm > 0):
        raise UnsafeParameters("a clipping norm must be finite and above 0")
    if norm < MIN_CLIPPING_NORM:
        raise UnsafeParameters(
            f"a clipping norm must be at least {MIN_CLIPPING_NORM:g}", hint="scale the loss"
        )
    if dtype not in _OFFERED:
        raise _refused(dtype)
    wide = lengths.to(torch.float64)
    factors = torch.where(torch.isfinite(wide), norm / wide.clamp(min=norm), torch.zeros_like(wide))
    return _toward_zero(factors, dtype)


def _refused(dtype: torch.dtype) -> UnsafeParameters:
    name = str(dtype).removeprefix("torch.")
    return UnsafeParameters(f"{name} is too coarse to clip in", hint="train in float32 or float64")


def _toward_zero(wide: Tensor, dtype: torch.dtype) -> Tensor:
    """A float64 tensor in `dtype`, no entry further from zero than it was."""
    near = wide.to(dtype)
    if dtype is torch.float64:
        return near
    # A float's bits without the sign count its magnitude, so one less is the next float toward zero.
    bits = near.view(torch.int32)
    return (bits - (near.to(torch.float64).abs() > wide.abs()).to(torch.int32)).view(dtype)


def into_box(x: Tensor, bound: float) -> Tensor:
    """`x` (..., d) with every coordinate moved into [-bound, bound], and NaN to 0: what an encoder can carry.

    A projection onto a convex set moves no two points apart, so the sensitivity of `x` stays what it was.
    """
    return torch.nan_to_num(x, nan=0.0, posinf=bound, neginf=-bound).clamp_(-bound, bound)


def into_ball(x: Tensor, radius: float) -> Tensor:
    """`x` (d,), finite and float64, moved to the nearest point that is at most `radius` long: see `into_balls`."""
    return into_balls(x[None], torch.tensor([radius], dtype=torch.float64))[0]


def shortened(parts: Callable[[], Iterable[Tensor]], radius: float) -> float:
    """What a vector, finite and float64, in parts, is to be multiplied by to be at most `radius` long; 1 if it is.

    The same number as in `into_balls`. `parts` may be asked for twice.
    """
    length = math.sqrt(sum_of_squares(parts))
    return radius / length if length > radius else 1.0


def sum_of_squares(parts: Callable[[], Iterable[Tensor]]) -> float:
    """The sum of the squares of all numbers in these float64 vectors, rounded once, as by `math.fsum`.

    In rows: to the sums s of the columns a row x is added as s' = s + x, and the exact rest of it (Knuth's two-sum)
    to sums of rests. The numbers are not negative, so n rests of a column and the additions of them are off by at
    most n^2 2^-106 of the whole. Where this could decide how it is rounded, all is added up exactly.
    """
    high, low, rows = np.zeros(_ROW), np.zeros(_ROW), 0
    for part in parts():
        squares = np.square(part.detach().numpy())
        for start in range(0, len(squares), _ROW):
            row = squares[start : start + _ROW]
            above, below = high[: len(row)], low[: len(row)]
            total = above + row
            back = total - above
            below += (above - (total - back)) + (row - back)
            above[:] = total
            rows += 1
    each = [*high.tolist(), *low.tolist()]
    whole = math.fsum(each)
    unsure = rows * rows * 2.0**-105 * whole
    if math.isfinite(whole) and math.fsum([*each, unsure]) == math.fsum([*each, -unsure]):
        return whole
    return math.fsum(chain.from_iterable((part * part).tolist() for part in parts()))


def into_balls(rows: Tensor, radii: Tensor) -> Tensor:
    """Each row of `rows` (n, d), finite and float64, moved to the nearest point that is at most its radius long.

    A projection onto a convex set, as `into_box`. Its length is summed exactly, so two points end at most
    2^-50 times the radius further apart than they were, which FLOAT_SLACK of `privacy.mechanism.gaussian` pays for.
    """
    near = torch.linalg.vector_norm(rows, dim=1) > radii * (1 - _SURELY_INSIDE)
    if not bool(near.any()):
        return rows  # as the exact projection would
    moved = rows.clone()
    for row in torch.nonzero(near)[:, 0].tolist():
        x, radius = rows[row], float(radii[row])
        length = math.sqrt(math.fsum((x * x).tolist()))
        if length > radius:
            moved[row] = x * (radius / length)
    return moved
