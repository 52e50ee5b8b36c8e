"""Features whose cell is a whole, such as a text: a fixed, public function makes a vector of each cell alone.

What the function does stands in the plan and looks at no other cell, so it tells nothing of the records and costs
no privacy. The vectors are at most 1 long, so that a clipping norm suits them as it suits other columns.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from federation.config.schema import Mistake, Table
from federation.plan.columns.numeric import MISSING
from privacy.wire import digest

MOST_WIDE = 1 << 16
"""The longest vector of a cell."""
_WORD = re.compile(r"\w+", re.UNICODE)


class Wide(Table):
    """A feature of `width` columns that mean nothing one by one.

    `missing = "indicator"` makes zeros of a cell without a value, and a mark in a column of its own.
    """

    square: ClassVar[float] = 1.0
    """What it adds to the square of a record's length."""

    name: str
    missing: Literal["refuse", "indicator"] | None = Field(default=None, examples=['"indicator"'])

    @field_validator("missing")
    @classmethod
    def _absent_where_usual(cls, missing: str | None) -> str | None:
        return None if missing == "refuse" else missing

    @property
    def vector(self) -> int:
        """How many numbers a cell becomes."""
        raise NotImplementedError

    @property
    def told(self) -> str:
        """What a cell becomes, in words."""
        raise NotImplementedError

    @property
    def parts(self) -> tuple[str, ...]:
        """What each of the input's columns is of the feature, as text."""
        many = self.vector
        own = tuple(f"({place + 1} of {many})" for place in range(many))
        return (*own, MISSING) if self.missing == "indicator" else own


class Words(Wide):
    """A text as the words in it: each falls into one of `width` columns by its own digest, up or down.

    The root of each count, and the whole 1 long (Weinberger et al. 2009, "Feature hashing"): nobody lists words, so
    no vocabulary is made of records.
    """

    text: Literal["words"] = Field(examples=['"words"'])
    width: int = Field(ge=2, le=MOST_WIDE, examples=["512"])

    @field_validator("text", mode="before")
    @classmethod
    def _read_by_something(cls, text: Any) -> Any:
        if text != "words":  # whose line is an encoder's is read as one, and never comes here
            raise Mistake('must be "words" or "encoder"', 'write for example: text = "words"')
        return text

    @property
    def vector(self) -> int:
        """The width."""
        return self.width

    @property
    def told(self) -> str:
        """The columns."""
        return f"words in {self.width} columns"

    def places(self, text: str) -> dict[int, float]:
        """The columns of a text that are not 0. Empty for a text without words.

        >>> sorted(Words(name="note", text="words", width=64).places("Pain, pain!").values())
        [1.0]
        """
        found: dict[int, float] = {}
        for word, count in Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold())).items():
            said = int.from_bytes(digest("federation/words/1", word.encode("utf-8", "surrogatepass")), "big")
            place, sign = (said >> 1) % self.width, 1.0 if said & 1 else -1.0
            found[place] = found.get(place, 0.0) + sign * count**0.5
        length = sum(value * value for value in found.values()) ** 0.5
        return {place: value / length for place, value in found.items()} if length else {}
