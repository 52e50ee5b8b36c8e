"""The kinds of features of a table: what a cell may be, and which columns of the model's input it becomes.

Every rule is public, stands in the plan and looks at one cell alone: it tells nothing of the records, and is the
same at every site. A value matches a cell as text: federation/plan/identifiers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from federation.config.schema import Mistake, Table, Texts
from federation.plan.identifiers import are_told_apart, cleaned

MOST_KNOTS = 64


class Numeric(Table):
    """A feature on a public range, scaled to [-1, 1] and clipped.

    `knots` are points at which its line may bend, which is straight without them: federation/plan/maps.py.
    """

    name: str
    low: float = Field(examples=["20"])
    high: float = Field(examples=["90"])
    knots: int | None = Field(default=None, ge=2, le=MOST_KNOTS, examples=["8"])

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low / 2 < self.high / 2:
            raise Mistake("low must be below high", "write the public range, such as { low = 20, high = 90 }")
        return self

    @property
    def parts(self) -> tuple[str, ...]:
        """What each of the input's columns is of the feature, as text: one, the feature itself, or one a knot."""
        if self.knots is None:
            return ("",)
        return tuple(f"(knot {place + 1} of {self.knots})" for place in range(self.knots))


class Categorical(Table):
    """A feature with public values, one-hot."""

    name: str
    values: Texts = Field(examples=['["1", "2", "3"]'])

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return told_apart(values, least=1)

    @property
    def parts(self) -> tuple[str, ...]:
        """What each of the input's columns is of the feature, as text: a value for each."""
        return tuple(f"= {value}" for value in self.values)


def _kind_of_feature(feature: Any) -> str:
    values = "values" in feature if isinstance(feature, Mapping) else isinstance(feature, Categorical)
    return "categorical" if values else "numeric"


Feature = Annotated[
    Annotated[Numeric, Tag("numeric")] | Annotated[Categorical, Tag("categorical")],
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
