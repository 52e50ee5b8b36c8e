"""What several tests of drawn noise ask: whether it looks Gaussian, and what the largest words make."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def p_value(drawn: NDArray[np.int64], variance: float) -> float:
    """Chi-square against a Gaussian of this variance, in 64 cells of equal probability."""
    edges = stats.norm.ppf(np.arange(1, 64) / 64) * math.sqrt(variance)
    observed = np.bincount(np.searchsorted(edges, drawn), minlength=64)
    return float(stats.chisquare(observed).pvalue)


class Largest:
    """A stream of the largest words, all signs the same."""

    def words(self, size: int) -> NDArray[Any]:
        return np.full(size, 2**64 - 1, np.uint64)

    def take(self, size: int) -> bytes:
        return bytes(size)
