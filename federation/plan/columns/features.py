"""The kinds of features of a table: what a cell may be, and which columns of the model's input it becomes.

Every rule is public, stands in the plan and looks at one cell alone: it tells nothing of the records, and is the
same at every site. A value matches a cell as text: federation/plan/identifiers.py. What counts as a mark of
missing: clients/data/cells.py. A rule that says what is usual is absent, so that the plan keeps its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from federation.config.schema import Mistake, Table, Texts
from federation.plan.columns.dates import Date
from federation.plan.columns.encoder import Encoder
from federation.plan.columns.numeric import MISSING, Numeric
from federation.plan.columns.pictures import Picture
from federation.plan.columns.wide import Wide, Words
from federation.plan.identifiers import are_told_apart, cleaned
from federation.words import printable
from privacy.wire import digest

__all__ = [
    "MISSING",
    "OTHER",
    "Categorical",
    "Date",
    "Encoder",
    "Feature",
    "Hashed",
    "Numeric",
    "Picture",
    "Wide",
    "Words",
    "told_apart",
]

OTHER = "is another"
MOST_CODES = 1 << 16
"""The largest vocabulary of hashed codes."""


class Categorical(Table):
    """A feature with public values, one-hot.

    `missing = "category"` gives cells without a value a column of their own; one of the values stands for itself.
    `other` takes every text that is not listed into one column; a mark of missing is no such text.
    """

    name: str
    values: Texts = Field(examples=['["1", "2", "3"]'])
    missing: str | None = Field(default=None, examples=['"category"'])
    other: bool | None = Field(default=None, examples=["true"])

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return told_apart(values, least=1)

    @field_validator("missing", mode="before")
    @classmethod
    def _rule(cls, missing: Any) -> Any:
        return None if missing == "refuse" else str(missing) if type(missing) is int else missing

    @field_validator("other")
    @classmethod
    def _absent_where_usual(cls, other: bool | None) -> bool | None:
        return other or None

    @model_validator(mode="after")
    def _filled_by_a_value(self) -> Self:
        if self.missing not in (None, "category", *self.values):
            hint = 'write for example: missing = "category"'
            raise Mistake('must be "refuse", "category" or one of the values', hint, ("missing",))
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """What each of the input's columns is of the feature, as text."""
        values = [f"= {printable(value)}" for value in self.values]
        return (*values, *[OTHER] * bool(self.other), *[MISSING] * (self.missing == "category"))


class Hashed(Table):
    """A feature with codes that nobody lists, such as ICD: each falls into one of `hash` columns, by its text.

    Codes that fall together are one to the model; more columns keep them apart, and take more noise.
    """

    name: str
    hash: int = Field(ge=2, le=MOST_CODES, examples=["64"])
    missing: Literal["refuse", "category"] | None = Field(default=None, examples=['"category"'])

    @field_validator("missing")
    @classmethod
    def _absent_where_usual(cls, missing: str | None) -> str | None:
        return None if missing == "refuse" else missing

    @property
    def parts(self) -> tuple[str, ...]:
        """What each of the input's columns is of the feature, as text."""
        codes = [f"(hash {place + 1} of {self.hash})" for place in range(self.hash)]
        return (*codes, *[MISSING] * (self.missing == "category"))

    def place_of(self, text: str) -> int:
        """The column of a code, the same at every site and in every version.

        >>> Hashed(name="diagnosis", hash=64).place_of("E11.9")
        0
        """
        said = digest("federation/hashed/1", self.name.encode(), text.encode("utf-8", "surrogatepass"))
        return int.from_bytes(said, "big") % self.hash


_KINDS = {"values": "categorical", "hash": "hashed", "date": "date", "text": "words", "image": "picture"}


def _kind_of_feature(feature: Any) -> str:
    """By the key that only one kind has; of texts by what reads them."""
    has = feature.__contains__ if isinstance(feature, Mapping) else type(feature).model_fields.__contains__
    kind = next((kind for key, kind in _KINDS.items() if has(key)), "numeric")
    text = feature.get("text") if isinstance(feature, Mapping) else getattr(feature, "text", None)
    return "encoder" if kind == "words" and text == "encoder" else kind


Feature = Annotated[
    Annotated[Numeric, Tag("numeric")]
    | Annotated[Categorical, Tag("categorical")]
    | Annotated[Hashed, Tag("hashed")]
    | Annotated[Date, Tag("date")]
    | Annotated[Words, Tag("words")]
    | Annotated[Picture, Tag("picture")]
    | Annotated[Encoder, Tag("encoder")],
    Discriminator(_kind_of_feature),
]


def told_apart(values: tuple[str, ...], least: int) -> tuple[str, ...]:
    """Values that a cell can be matched to: no text stands for two of them."""
    if len(values) < least:
        raise Mistake(f"must have at least {least} entries", 'write for example: ["0", "1"]')
    is_odd = any(not cleaned(value) or value != value.strip() for value in values)
    if is_odd or not are_told_apart(values):
        hint = "name each once; 1.0 is read as 1 where no value has decimals"
        raise Mistake("names a value twice, by nothing, or with blanks around it", hint)
    return values
