"""A small convolutional network for the images of a table, beside whatever else a record has.

GroupNorm looks at one record only, and tanh is bounded, which suits clipped gradients (Papernot et al. 2021). The
features come as vectors, as of any other task: the network takes the image out of them again.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from federation.model.images.sizes import CHANNELS, KERNEL, Shape, pools, sides

_GROUPS: Final = 4


class Cnn(nn.Module):
    """Rows (n, inputs) to outputs (n, outputs); the image of `shape` begins at input `place`.

    `bias`: whether each output has an intercept.
    """

    def __init__(self, inputs: int, outputs: int, place: int, shape: Shape, *, bias: bool = True) -> None:
        super().__init__()
        self._place, self._shape, self._end = place, shape, place + math.prod(shape)
        first, second = CHANNELS
        (high, wide), seen = pools(shape), sides(shape)
        self.maps = nn.Sequential(
            *(nn.Conv2d(shape[0], first, KERNEL, padding=1), nn.GroupNorm(_GROUPS, first), nn.Tanh()),
            nn.AvgPool2d((high[0], wide[0])),
            *(nn.Conv2d(first, second, KERNEL, padding=1), nn.GroupNorm(_GROUPS, second), nn.Tanh()),
            nn.AvgPool2d((high[1], wide[1])),
        )
        self.head = nn.Linear(second * seen[0] * seen[1] + inputs - math.prod(shape), outputs, bias=bias)

    def forward(self, rows: Tensor) -> Tensor:
        """The outputs."""
        image = rows[:, self._place : self._end] * math.sqrt(math.prod(self._shape))
        maps = self.maps(image.reshape(-1, *self._shape)).flatten(1)
        outputs: Tensor = self.head(torch.cat([maps, rows[:, : self._place], rows[:, self._end :]], 1))
        return outputs
