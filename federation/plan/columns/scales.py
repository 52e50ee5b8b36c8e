"""The public scale of a number: from its range to [-1, 1] and back, the same at every site."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federation.plan.columns.numeric import Numeric, scale_of

Numbers = NDArray[np.float64]


def scaled(values: Numbers, feature: Numeric) -> Numbers:
    """From the range to [-1, 1]; what is outside is clipped. NaN stays.

    Halves first: the difference of two finite floats may be infinite.
    """
    low, high = scale_of(feature, feature.low), scale_of(feature, feature.high)
    on_scale = _forth(np.clip(values, feature.low, feature.high), feature)
    share = (on_scale / 2 - low / 2) / (high / 2 - low / 2)
    return np.clip(2 * share - 1, -1.0, 1.0)


def corners(feature: Numeric) -> Numbers | None:
    """Where the knots of a list are in [-1, 1], the ends of the range among them; None where they lie evenly."""
    if not isinstance(feature.knots, tuple):
        return None
    return scaled(np.array([feature.low, *feature.knots, feature.high]), feature)


def unscaled(places: Numbers, feature: Numeric) -> Numbers:
    """Back from [-1, 1] to the range."""
    low, high, share = scale_of(feature, feature.low), scale_of(feature, feature.high), (places + 1) / 2
    return np.clip(_back(low * (1 - share) + high * share, feature), feature.low, feature.high)


def _forth(values: Numbers, feature: Numeric) -> Numbers:
    if feature.scale == "log":
        return np.log(values)
    return np.copysign(np.log1p(np.abs(values)), values) if feature.scale == "symlog" else values


def _back(values: Numbers, feature: Numeric) -> Numbers:
    with np.errstate(over="ignore"):  # a rounding error above the largest number; clipped to the range
        if feature.scale == "log":
            return np.exp(values)
        return np.copysign(np.expm1(np.abs(values)), values) if feature.scale == "symlog" else values
