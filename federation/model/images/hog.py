"""Histograms of oriented gradients (Dalal, Triggs 2005): what a plan's `image = "hog"` makes of an image.

The map is public and fixed, and looks at one image only, so it costs no privacy. It has no params, and can be
exported with the model behind it.

Floating point must not tell one record's features by what stands beside it: many kernels of torch round an entry by
where it lies in the batch. Here every operation is one that IEEE 754 rounds correctly (sums, products, quotients,
roots, comparisons), one after the other, in an order that the shape of one image fixes. So an image has the same
features, to the last bit, in every batch and on every processor.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from federation.plan.columns.pictures import ORIENTATIONS

FINEST: Final = 4
"""Pixels across a cell, at least: images are enlarged until then."""
_MEAN: Final = 0.8  # of the unit vectors of images, along the diagonal, about
_TINY: Final = 1e-12  # beside the length of what is not blank


class Hog(nn.Module):
    """Images (n, channels, height, width) to features (n, `features`), each row 1 long.

    `cell` is the width of a cell in pixels; it divides height and width. A pixel counts for the cells around it,
    and its gradient for the two directions around it, both in proportion. Roots are taken of the histograms, which
    are then scaled to length 1 together: so an image's contrast does not matter. Last, a constant is taken away,
    about what all such vectors have in common: they differ more, at the same length.
    """

    def __init__(self, channels: int, height: int, width: int, cell: int) -> None:
        super().__init__()
        if min(channels, height, width, cell) < 1 or height % cell or width % cell:
            raise ValueError("an image must be whole cells")
        self.features = ORIENTATIONS * (height // cell) * (width // cell)
        self._doublings = max(cell % 2, math.ceil(math.log2(FINEST / cell)))  # a cell has a middle line
        self._cell = cell << self._doublings

    def forward(self, images: Tensor) -> Tensor:
        """The features, by direction, then row, then column."""
        for _ in range(self._doublings):
            images = _doubled(_doubled(images, 2), 3)
        cells = _pooled(_pooled(directed(*_gradients(images)), self._cell, 2), self._cell, 3)
        unit = _scaled(cells.flatten(1).sqrt())
        return _scaled(unit - _MEAN / math.sqrt(self.features))


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along the rows and down the columns, (n, height, width), of the channel that has more."""
    across, down = _differences(images, 3), _differences(images, 2)
    chosen = (across * across + down * down).argmax(1, keepdim=True)
    return across.gather(1, chosen).squeeze(1), down.gather(1, chosen).squeeze(1)


def directed(across: Tensor, down: Tensor) -> Tensor:
    """Every gradient as parts, none below 0, of the two directions around it: (n, ORIENTATIONS, height, width).

    With u the unit vectors of the directions, g = a u[k] + b u[k + 1]: a is the cross product of g and u[k + 1],
    over the sine of the angle between neighbors. The smaller one of the two cross products is the right one, or
    below 0.
    """
    step = 2 * math.pi / ORIENTATIONS
    crossed = [across * math.sin(step * k) - down * math.cos(step * k) for k in range(ORIENTATIONS)]
    parts = [torch.minimum(crossed[(k + 1) % ORIENTATIONS], -crossed[k - 1]) for k in range(ORIENTATIONS)]
    return torch.stack(parts, 1).clamp(min=0) / math.sin(step)


def _differences(images: Tensor, axis: int) -> Tensor:
    size = images.shape[axis]
    framed = _framed(images, axis, 1)
    return framed.narrow(axis, 2, size) - framed.narrow(axis, 0, size)


def _doubled(images: Tensor, axis: int) -> Tensor:
    """Twice as many pixels along an axis, linear between their centers."""
    size, near = images.shape[axis], images * 0.75
    far = _framed(images, axis, 1) * 0.25
    pair = near + far.narrow(axis, 0, size), near + far.narrow(axis, 2, size)
    return torch.stack(pair, axis + 1).flatten(axis, axis + 1)


def _framed(images: Tensor, axis: int, width: int) -> Tensor:
    """The images with their first and last line repeated."""
    first, last = images.narrow(axis, 0, 1), images.narrow(axis, images.shape[axis] - 1, 1)
    return torch.cat([first] * width + [images] + [last] * width, axis)


def _pooled(parts: Tensor, cell: int, axis: int) -> Tensor:
    """Sums by cell along an axis; a pixel counts for two cells, by how near it is to their centers."""
    size = list(parts.shape)
    size[axis] = cell // 2
    blank = parts.new_zeros(size)
    windows = torch.cat([blank, parts, blank], axis).unfold(axis, 2 * cell, cell)
    weights = [(1 - abs(place + 0.5 - cell) / cell) / cell for place in range(2 * cell)]
    return sum((windows[..., place] * weight for place, weight in enumerate(weights)), blank.new_zeros(()))


def _scaled(rows: Tensor) -> Tensor:
    """Rows (n, m) of length 1; 0 stays 0. Squares are added up in pairs, the pairs in pairs, and so on."""
    squares = rows * rows
    while squares.shape[1] > 1:
        half = squares.shape[1] // 2
        odd = squares[:, 2 * half :]
        squares = torch.cat([squares[:, :half] + squares[:, half : 2 * half], odd], 1)
    return rows / squares.sqrt().clamp(min=_TINY)
