"""Is a vector uniform in its lowest eight bits? A chi-square test with a stated rate of false alarms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2  # type: ignore[import-untyped]

# A uniform vector is called biased once in a million keys; the tests fix their keys, so they never flicker.
ALARM = 1e-6


def chi_square_p_value(lanes: NDArray[np.unsignedinteger]) -> float:
    """The probability that uniform bytes deviate at least as much as these, 255 degrees of freedom."""
    counts = np.bincount((lanes & lanes.dtype.type(255)).astype(np.int64), minlength=256)
    expected = lanes.size / 256
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), 255))
