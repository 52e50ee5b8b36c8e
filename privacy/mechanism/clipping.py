"""Clipping: bounds the L2 norm of examples or updates, all rows at once; non-finite rows contribute zero.

Clipping gives a sum its sensitivity: with every row at most `norm` long, adding or removing one row moves the sum
by at most `norm`. A single NaN would move it without bound (a factor min(1, norm / NaN) is NaN or, worse, 1). So a
row that is not finite is replaced by zeros, and silently: a warning would reveal that the row is there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from privacy.errors import UnsafeParameters


def clip_rows(rows: Tensor, norm: float) -> Tensor:
    """Each row of `rows` (n, d) scaled down to L2 norm <= `norm`, within rounding; shorter rows unchanged.

    Zeros for a row that holds NaN or infinity, or is so long that its norm overflows float64.
    """
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True, dtype=torch.float64)
    factors = clip_factors(lengths, norm).to(rows.dtype)
    return torch.where(torch.isfinite(lengths), rows * factors, torch.zeros_like(rows))


def clip_factors(lengths: Tensor, norm: float) -> Tensor:
    """Factors that shorten vectors of these lengths to at most `norm`: min(1, norm / length), or 0 if not finite.

    0 times NaN is NaN, so the caller must leave out a vector that is not finite, as `clip_rows` does.
    UnsafeParameters for a norm of 0, infinity or NaN, under which nothing, or everything, would be released.
    """
    if not (math.isfinite(norm) and norm > 0):
        raise UnsafeParameters("a clipping norm must be finite and above 0")
    return torch.where(torch.isfinite(lengths), norm / lengths.clamp(min=norm), torch.zeros_like(lengths))


def into_box(x: Tensor, bound: float) -> Tensor:
    """`x` (d,) with every coordinate moved into [-bound, bound], and NaN to 0: what an encoder can carry.

    A projection onto a convex set moves no two points apart, so the sensitivity of `x` stays what it was.
    """
    return torch.nan_to_num(x, nan=0.0, posinf=bound, neginf=-bound).clamp(-bound, bound)
