"""What the parts of report.json are made of: frozen, strict about types, and without infinities."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Strict, ValidationError

from privacy.canonical import finite

Number = Annotated[float | None, AfterValidator(finite)]
"""A number that is not finite becomes None, which JSON writes as null."""
AnyList = Strict(False)  # JSON has lists; a frozen part holds tuples


class Part(BaseModel):
    """A frozen part of a report, which is JSON outside."""

    model_config = ConfigDict(frozen=True, strict=True)

    @classmethod
    def from_json(cls, content: object) -> Self:
        """The part that plain data holds. ValueError names the first field that is missing or of another type."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"{place}: {first['msg'].lower()}")

    def to_json(self) -> dict[str, Any]:
        """Plain data without infinities: every field that was given, in the order of the class."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Ranged(Part):
    """A figure and its interval of 95 %, of noise and of chance where it is of more than counts.

    `bins`: by how much bins may move it, at most.
    """

    value: Number
    low: Number
    high: Number
    bins: Number = None
