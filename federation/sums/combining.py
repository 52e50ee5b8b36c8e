"""Combines the means of groups, each coordinate by itself, so that a few of them can be anything.

Post-processing of what the groups released: it costs no privacy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def combined(means: Sequence[Tensor], how: str | None) -> Tensor:
    """One delta of the groups' deltas, flat float64; each group counts once, whatever its size.

    "median": of an even number, the mean of the two in the middle. "trimmed-mean": without the `trimmed` lowest and
    as many of the highest. While fewer than half of the groups, or at most `trimmed`, hold a bad site, every
    coordinate of the result lies between those of groups without one (Yin, Chen, Ramchandran and Bartlett 2018).
    """
    if len(means) == 1:
        return means[0]
    ordered = torch.stack(list(means)).sort(dim=0).values
    cut = (
        0
        if how in ("mean", None)
        else trimmed(len(means))
        if how == "trimmed-mean"
        else (len(means) - 1) // 2
    )
    kept = ordered[cut : len(means) - cut]
    return kept.sum(dim=0) / len(kept)


def trimmed(groups: int) -> int:
    """How many groups a trimmed mean leaves out at either end: a quarter, and at least one of three or more.

    >>> [trimmed(groups) for groups in (3, 4, 5, 8, 12)]
    [1, 1, 1, 2, 3]
    """
    return max(1, groups // 4)
