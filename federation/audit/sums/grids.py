"""Recounts the grid of a sum: whether its noise is what the plan claims, whatever the model's size.

Sums are rounded to a grid, which moves two neighbors of d numbers up to sqrt(d) grid units further apart than the
clip allows. So noise of `noise_multiplier` times the clip would be too little. The rules are stated here a second
time, from their definition (docs/decisions/0052-a-wider-noise-for-large-models.md): a share of noise has a standard
deviation of 2^14 grid units if 11 sqrt(d) z <= 2^14 sqrt(shares), and else 2^(14 + k) with the least k from 1 on at
which 41 sqrt(d) z <= 2^(14 + k) sqrt(shares); and it is z (C / step + sqrt(d)) or more of all shares together.
"""

from __future__ import annotations

import math

from federation.audit.recounting import counted_shares
from federation.round.terms import Terms

_USUAL, _WIDEST = 14, 22  # binary logarithms of a share's standard deviation
_NEAR = 1e-9  # floats that were added up in another order


def grid_fault(terms: Terms) -> str:
    """Why a round's grid is not that of its plan, in half a sentence; "" if it is, or the sum gets no noise."""
    plan, mechanism = terms.plan, terms.mechanism
    if mechanism is None or terms.codec.step != mechanism.step:
        return ""  # noise was added before: the codec of an update adds none
    shares = counted_shares(plan, len(terms.members)) if plan.privacy.noise == "distributed" else 1
    rounding = math.sqrt(terms.length) * mechanism.noise_multiplier
    whole = mechanism.deviation * math.sqrt(shares)
    if whole < (1 - _NEAR) * (
        mechanism.noise_multiplier * mechanism.clipping_norm / mechanism.step + rounding
    ):
        return "the noise on its grid is less than the plan claims"
    width = math.log2(mechanism.deviation)
    if not any(abs(width - least) < _NEAR for least in _widths(rounding / math.sqrt(shares))):
        return "its noise is of another width than its number of parameters asks for"
    return ""


def _widths(needed: float) -> set[int]:
    """The binary logarithm of a share's deviation; both that may be right where floats cannot tell them apart."""
    return {_width(needed * (1 + off)) for off in (-_NEAR, _NEAR)}


def _width(needed: float) -> int:
    if 11 * needed <= 2**_USUAL:
        return _USUAL
    return next((k for k in range(_USUAL + 1, _WIDEST + 1) if 41 * needed <= 2**k), 0)
