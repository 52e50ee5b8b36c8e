"""Chance that is the same every time, for tests of statistics."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from privacy.mechanism.noise import Stream

Floats = NDArray[np.float64]


def stream(seed: object) -> Stream:
    """A stream of this seed, which hides nothing."""
    return Stream(hashlib.sha256(repr(seed).encode()).digest())


class Chance:
    """Uniform and normal numbers."""

    def __init__(self, seed: object) -> None:
        self._stream = stream(seed)

    def uniform(self, *shape: int) -> Floats:
        """Above 0 and below 1."""
        words = self._stream.words(int(np.prod(shape)))
        return (((words >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52).reshape(shape)

    def normal(self, *shape: int) -> Floats:
        """Of mean 0 and deviation 1."""
        return np.asarray(ndtri(self.uniform(*shape)))
