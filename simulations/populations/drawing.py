"""Seeded draws for data that are made up or dealt out: the same on every machine and with every version of numpy.

They come from a stream with a public key, so nothing here is a secret and nothing of it may serve as noise. Beside
the stream there is floating-point arithmetic, whose last digit may differ between machines: round what is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, logsumexp, ndtri

from privacy.canonical import canonical
from privacy.mechanism.noise import Stream

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

_LABEL = "federation/populations/1"


class Draws:
    """Draws that are named: the same use and seed give the same ones."""

    def __init__(self, use: str, seed: int) -> None:
        text = canonical({"use": _LABEL, "of": use, "seed": seed})
        self._stream = Stream(hashlib.sha256(text.encode()).digest())

    def uniform(self, *shape: int) -> Floats:
        """Numbers between 0 and 1, neither of them included."""
        words = self._stream.words(int(np.prod(shape, dtype=np.int64)))
        return (((words >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52).reshape(shape)

    def normal(self, *shape: int) -> Floats:
        """Standard normal numbers."""
        found: Floats = ndtri(self.uniform(*shape))
        return found

    def is_true(self, chances: Floats) -> NDArray[np.bool_]:
        """A coin for each chance."""
        return self.uniform(*chances.shape) < chances

    def choices(self, weights: Floats | list[float], size: int) -> Places:
        """So many places of `weights`, each in proportion to its weight."""
        ends = np.cumsum(weights)
        found = np.searchsorted(ends, self.uniform(size) * ends[-1], side="right")
        places: Places = np.minimum(found, len(ends) - 1).astype(np.int64)
        return places

    def order(self, size: int) -> Places:
        """A permutation of 0 .. size - 1."""
        return np.argsort(self._stream.words(size), kind="stable")

    def dirichlet(self, alpha: float, *shape: int) -> Floats:
        """Shares that sum to one along the last axis: symmetric Dirichlet, for any alpha above 0."""
        return self._shares(np.full(shape, alpha))

    def dirichlet_of(self, alphas: Sequence[float]) -> Floats:
        """The same with an alpha for each share."""
        return self._shares(np.array(alphas))

    def _shares(self, alphas: Floats) -> Floats:
        """A gamma variable of shape a is one of shape a + 1 times U^(1/a). All of it is in logarithms: for a small
        a the least are below what a float can hold, and the largest must not be lost with them.
        """
        scale = np.log(self.uniform(*alphas.shape)) / alphas
        logs = np.log(gammaincinv(alphas + 1, self.uniform(*alphas.shape))) + scale
        shares: Floats = np.exp(logs - logsumexp(logs, axis=-1, keepdims=True))
        return shares
