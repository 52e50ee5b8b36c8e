"""`[purpose]`: what a run is for, in the words of those who answer for it. It is in the digest that sites sign.

Nothing here changes what a run does. A field that a plan leaves out stays blank in each document made from the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, Strict, field_validator, model_validator

from federation.config.schema import Mistake, Table

_LONGEST = 1000  # characters of a paragraph
_MOST = 20  # paragraphs of a field

TITLES: Final = {
    "use": "intended purpose",
    "out_of_scope": "out of scope",
    "controllers": "controllers and their roles",
    "legal_basis": "legal basis",
    "reference": "impact assessment or ethics vote",
    "retention": "retention",
    "recipients": "recipients",
    "contact": "contact",
}
"""The fields by name, as a document calls them."""


def _as_list(value: Any) -> Any:
    """A text alone is a list of one. Anything else that is no list is a mistake, in words that name both forms."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        raise Mistake(
            "must be text in quotes, or a list of such", 'write one line, or several: ["...", "..."]'
        )
    return value


Paragraphs = Annotated[tuple[str, ...], BeforeValidator(_as_list), Strict(False)]


def _check(paragraphs: tuple[str, ...]) -> None:
    if len(paragraphs) > _MOST:
        raise Mistake(f"has more than {_MOST} paragraphs", "name the document where the rest stands")
    for text in paragraphs:
        if not text.strip() or len(text) > _LONGEST:
            raise Mistake(
                f"must be 1 to {_LONGEST} characters, or a list of such",
                "leave the key out where it is not known",
            )
        if not text.isprintable():  # a line break could pass for a line of the program's own
            raise Mistake(
                "holds line breaks or characters that are not printed",
                'write one line, or a list of lines: ["...", "..."]',
            )


class Purpose(Table):
    """Each field is a paragraph or a list of paragraphs, of printable characters in one line each.

    `controllers`: who decides, and in which role. `reference`: where the impact assessment or the ethics vote is
    filed. `retention`: how long model and records of the run are kept. `recipients`: who gets the model.
    """

    use: Paragraphs | None = Field(default=None, examples=['"find heart disease at admission"'])
    out_of_scope: Paragraphs | None = Field(default=None, examples=['"decisions about insurance"'])
    controllers: Paragraphs | None = Field(default=None, examples=['["St. Mary, Berlin: joint controller"]'])
    legal_basis: Paragraphs | None = Field(default=None, examples=['"GDPR Art. 9(2)(j)"'])
    reference: Paragraphs | None = Field(default=None, examples=['"DPIA 2026-14; ethics vote EK-221"'])
    retention: Paragraphs | None = Field(default=None, examples=['"model: 10 years; ledgers: 10 years"'])
    recipients: Paragraphs | None = Field(default=None, examples=['["the four hospitals"]'])
    contact: Paragraphs | None = Field(default=None, examples=['"dpo@example.org"'])

    @field_validator("*")
    @classmethod
    def _one_line_each(cls, paragraphs: tuple[str, ...] | None) -> tuple[str, ...] | None:
        _check(paragraphs or ())
        return paragraphs or None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.to_json():
            raise Mistake("says nothing", 'leave the table out, or write: use = "..."')
        return self

    def to_json(self) -> dict[str, list[str]]:
        """The fields that are there, by name."""
        return self.model_dump(mode="json", exclude_none=True)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Each field that is there, as a document calls it, and its paragraphs."""
        return lines(self.to_json())


def lines(purpose: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """The fields of a purpose as JSON, each as a document calls it, in the order of `TITLES`."""
    for name, title in TITLES.items():
        if name in purpose:
            yield title, " · ".join(purpose[name])
