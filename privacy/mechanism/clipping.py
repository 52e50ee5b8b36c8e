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

import torch
from torch import Tensor

from privacy.accounting.events import MIN_CLIPPING_NORM
from privacy.errors import UnsafeParameters

_OFFERED = (torch.float32, torch.float64)
_SURELY_INSIDE = 2.0**-20  # far above the error of a norm of as many numbers as fit in memory


def clip_rows(rows: Tensor, norm: float) -> Tensor:
    """Each row of `rows` (n, d) scaled down to L2 norm <= `norm`, to float64's rounding; shorter rows unchanged.

    Zeros for a row that holds NaN or infinity, or is so long that its norm overflows float64.
    """
    if rows.dtype not in _OFFERED:
        raise _refused(rows.dtype)
    wide = rows.detach().to(torch.float64)
    lengths = row_lengths(wide)[:, None]
    factors = clip_factors(lengths, norm, torch.float64)
    return _toward_zero(
        torch.where(torch.isfinite(lengths), wide * factors, torch.zeros_like(wide)), rows.dtype
    )


def row_lengths(rows: Tensor) -> Tensor:
    """L2 norms (n,) of rows (n, ...) in float64; not finite where an entry is not, or where a square overflows."""
    flat = rows.detach().flatten(1)
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
