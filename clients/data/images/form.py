"""What a plan says an image is: its size, and which pixel values are black and white. All of it is public."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]
"""(channels, height, width), in [-1, 1]."""

WIDEST = float(1 << 16)
"""Beyond any pixel value of a file. A power of two: float32 on [-1, 1] still tells which whole number it was."""

REDUCED_AT_MOST = 1 << 26
"""Pixels of an image that is made smaller: above, a file of kilobytes may take gigabytes to unpack."""


class NoImage(ValueError):
    """A file is not the image that the plan asks for. `said` and `hint` show nothing of what is in it."""

    def __init__(self, said: str, hint: str) -> None:
        super().__init__(said)
        self.said, self.hint = said, hint


@dataclass(frozen=True)
class Form:
    """Images of `height` x `width` pixels with 1 or 3 channels.

    `low` becomes -1 and `high` 1, and what is beyond is cut. An image of another size is refused, unless the plan
    says `resize`.
    """

    height: int
    width: int
    channels: int
    low: float
    high: float
    resize: bool = False

    @classmethod
    def of_any_value(cls, height: int, width: int, channels: int) -> Form:
        """What takes all values of a file of this size: a value v becomes v / WIDEST."""
        return cls(height, width, channels, -WIDEST, WIDEST)

    def check_area(self, width: int, height: int) -> None:
        """NoImage for more pixels than any size has that the plan takes."""
        if min(width, height) < 1 or width * height > (
            REDUCED_AT_MOST if self.resize else self.height * self.width
        ):
            raise NoImage(*self._other_size)

    @property
    def _other_size(self) -> tuple[str, str]:
        if self.resize:
            return "is of no size, or far too large to be a picture", "look at the file"
        return (
            f"is not of {self.width} x {self.height} pixels",
            "bring all images to the plan's size, or agree on a plan with resize = true",
        )

    def check_size(self, width: int, height: int) -> None:
        """NoImage for a size that the plan does not take. Called before a file is unpacked."""
        self.check_area(width, height)
        if not self.resize and (width, height) != (self.width, self.height):
            raise NoImage(*self._other_size)

    def check_channels(self, channels: int) -> None:
        """NoImage for color where the plan says gray, and the other way around."""
        if channels != self.channels:
            kinds = {1: "gray", 3: "in color (RGB)"}
            said = (
                f"is {kinds.get(channels, 'neither gray nor RGB')}, and the plan says {kinds[self.channels]}"
            )
            raise NoImage(said, "save it as the plan says; nobody guesses how color becomes gray")

    def scaled(self, values: NDArray[Any]) -> Pixels:
        """Values (..., height, width) on [-1, 1]. NoImage if one is not finite."""
        with np.errstate(over="ignore"):
            wide = values.astype(np.float64)
        if not np.isfinite(wide).all():
            raise NoImage("has a pixel that is not a finite number", "export it again")
        share = (np.clip(wide, self.low, self.high) / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return np.clip(2 * share - 1, -1.0, 1.0).astype(np.float32)
