"""A feature that is a number on a public range, and its public scale."""

from __future__ import annotations

import math
from operator import lt
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from federation.config.schema import Mistake, Table

MISSING = "is missing"
"""What the column that marks missing cells is of its feature."""
MOST_KNOTS = 64
MOST_BINS = 200


class Numeric(Table):
    """A feature on a public range, clipped, and scaled to [-1, 1].

    `scale` is taken of the number before: "log", or "symlog", which is sign(x) log(1 + |x|) and takes any number.
    `missing = "indicator"` stands for the middle of the scaled range and a mark in a column of its own; a number
    stands for itself. `knots` are points at which the model's line may bend, which is straight without them: so
    many, evenly from `low` to `high`, or a list of those between the two (federation/plan/columns/maps.py). A
    missing number that is marked is then at none of them. `bins` are of statistics only: so many columns, of equal
    width on the scale, of which a number is in one.
    """

    name: str
    low: float = Field(examples=["20"])
    high: float = Field(examples=["90"])
    missing: str | float | None = Field(default=None, examples=['"indicator"'])
    scale: Literal["linear", "log", "symlog"] | None = Field(default=None, examples=['"log"'])
    knots: int | tuple[float, ...] | None = Field(default=None, examples=["8"])
    bins: int | None = Field(default=None, ge=2, le=MOST_BINS, examples=["20"])

    @field_validator("missing", mode="before")
    @classmethod
    def _rule(cls, missing: Any) -> Any:
        is_number = isinstance(missing, int | float) and not isinstance(missing, bool)
        if not is_number and missing not in ("refuse", "indicator", None):
            hint = 'write for example: missing = "indicator"'
            raise Mistake('must be "refuse", "indicator" or a number', hint)
        return None if missing == "refuse" else missing

    @field_validator("knots", mode="before")
    @classmethod
    def _countable(cls, knots: Any) -> Any:
        hint = "write for example: knots = 8, or where they are: knots = [30, 50, 70]"
        if isinstance(knots, list | tuple) and all(type(one) in (int, float) for one in knots):
            if not 1 <= len(knots) <= MOST_KNOTS - 2:
                raise Mistake(f"must be 1 to {MOST_KNOTS - 2} numbers between low and high", hint)
            return tuple(map(float, knots))
        if knots is not None and (type(knots) is not int or not 2 <= knots <= MOST_KNOTS):
            raise Mistake(f"must be a whole number from 2 to {MOST_KNOTS}, or a list of numbers", hint)
        return knots

    @field_validator("scale")
    @classmethod
    def _absent_where_usual(cls, scale: str | None) -> str | None:
        return None if scale == "linear" else scale

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low / 2 < self.high / 2:
            raise Mistake("low must be below high", "write the public range, such as { low = 20, high = 90 }")
        if self.scale == "log" and self.low <= 0:
            hint = 'raise low, or write scale = "symlog", which takes any number'
            raise Mistake("there is no logarithm of 0 and below, where low is", hint, ("scale",))
        if self.scale is not None and not scale_of(self, self.low) < scale_of(self, self.high):
            raise Mistake("leaves no room between low and high", "remove it", ("scale",))
        if isinstance(self.missing, float) and not self.low <= self.missing <= self.high:
            raise Mistake("is not between low and high", "choose a number of the range", ("missing",))
        if isinstance(self.knots, tuple):
            on_scale = [scale_of(self, one) for one in (self.low, *self.knots, self.high) if self.low <= one]
            if len(on_scale) < len(self.knots) + 2 or not all(map(lt, on_scale, on_scale[1:])):
                raise Mistake("must rise, from above low to below high", "write them in order", ("knots",))
        return self

    @property
    def hats(self) -> int | None:
        """How many columns the knots make, the ends of the range among them; None without knots."""
        return len(self.knots) + 2 if isinstance(self.knots, tuple) else self.knots

    @property
    def parts(self) -> tuple[str, ...]:
        """What each of the input's columns is of the feature, as text."""
        many, name = (self.bins, "bin") if self.bins is not None else (self.hats or 0, "knot")
        own = tuple(f"({name} {place + 1} of {many})" for place in range(many)) or ("",)
        return (*own, MISSING) if self.missing == "indicator" else own


def scale_of(feature: Numeric, number: float) -> float:
    """A number on the feature's scale, before it is fitted to [-1, 1]."""
    if feature.scale == "log":
        return math.log(number)
    return math.copysign(math.log1p(abs(number)), number) if feature.scale == "symlog" else number
