"""Features whose cell names the file of an image: its size and its black and white are public, as a range is.

"hog" makes histograms of oriented gradients of each image (federation/model/images/hog.py): for linear models.
"pixels" is the image itself: for a convolutional network, which takes the vector apart again.
"""

from __future__ import annotations

import math
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from federation.config.schema import Mistake, missing
from federation.plan.columns.wide import MOST_WIDE, Wide

ORIENTATIONS: Final = 12
"""Directions that "hog" tells a gradient by, all around: light on dark is not dark on light."""
MOST_PIXELS: Final = 1 << 20
"""Of an image, all channels together."""
_LARGEST: Final = 1 << 14


class Picture(Wide):
    """An image of `height` x `width` pixels, of which the value `low` is black and `high` is white.

    `cell`, of "hog": the width of a cell in pixels. Other sizes are refused, unless the plan says `resize`.
    """

    image: Literal["hog", "pixels"] = Field(examples=['"hog"'])
    height: int = Field(ge=1, le=_LARGEST, examples=["64"])
    width: int = Field(ge=1, le=_LARGEST, examples=["64"])
    channels: Literal[1, 3] = Field(examples=["1"])
    low: float = Field(examples=["0"])
    high: float = Field(examples=["255"])
    cell: int | None = Field(default=None, ge=1, examples=["8"])
    resize: bool | None = Field(default=None, examples=["true"])

    @field_validator("resize")
    @classmethod
    def _absent_where_false(cls, resize: bool | None) -> bool | None:
        return resize or None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.low / 2 < self.high / 2:
            raise Mistake("must be below high", "write the pixel values of black and white", ("low",))
        if self.channels * self.height * self.width > MOST_PIXELS:
            raise Mistake(f"makes images of more than {MOST_PIXELS} values", "make them smaller", ("height",))
        if self.image == "pixels":
            if self.cell is not None:
                raise Mistake('means nothing beside image = "pixels"', "remove it", ("cell",))
            return self
        if self.cell is None:
            raise missing("cell", "cell = 8")
        if self.height % self.cell or self.width % self.cell:
            raise Mistake("must divide height and width", "an eighth of the width is usual", ("cell",))
        if self.vector > MOST_WIDE:
            raise Mistake(f"makes more than {MOST_WIDE} inputs", "choose larger cells", ("cell",))
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width

    @property
    def vector(self) -> int:
        """Histograms of all cells, or all pixels."""
        if self.cell is None:
            return math.prod(self.shape)
        return ORIENTATIONS * (self.height // self.cell) * (self.width // self.cell)

    @property
    def told(self) -> str:
        """The size, and what becomes of it."""
        size = f"{self.width} x {self.height} pixels{', RGB' * (self.channels == 3)}"
        return size if self.cell is None else f"{size}, gradients in cells of {self.cell}"
