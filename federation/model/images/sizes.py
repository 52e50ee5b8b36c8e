"""The sizes of the convolutional network, which everybody knows of a plan without torch."""

from __future__ import annotations

import math
from typing import Final

CHANNELS: Final = (16, 32)
KERNEL: Final = 3
_SIDE: Final = 4  # of the maps that the last layer sees, or a little more

Shape = tuple[int, int, int]
"""Channels, height and width."""


def pools(shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
    """How many lines are averaged after each layer, down and across."""
    return _pools(shape[1]), _pools(shape[2])


def sides(shape: Shape) -> tuple[int, int]:
    """Height and width of the maps that the last layer sees."""
    (a, b), (c, d) = pools(shape)
    return shape[1] // a // b, shape[2] // c // d


def params_of(inputs: int, outputs: int, shape: Shape) -> int:
    """How many params such a network has."""
    (first, second), seen = CHANNELS, sides(shape)
    layers = (shape[0] * KERNEL**2 + 1) * first + (first * KERNEL**2 + 1) * second
    norms = 2 * (first + second)
    return layers + norms + (second * seen[0] * seen[1] + inputs - math.prod(shape) + 1) * outputs


def _pools(side: int) -> tuple[int, int]:
    first = 2 if side > 1 else 1
    return first, max(1, side // first // _SIDE)
