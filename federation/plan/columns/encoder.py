"""A text as a pretrained encoder reads it: a network that everybody can have, and that nothing here trains.

What an encoder was trained on stands in the plan, in words: epsilon is of the records of a run, and promises
nothing to people in the encoder's own data.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final, Literal

from pydantic import Field, field_validator

from federation.config.base import TrainedOn
from federation.config.schema import Mistake
from federation.plan.columns.wide import MOST_WIDE, Wide

MOST_TOKENS: Final = 8192
"""The longest text that an encoder may be asked to read."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Encoder(Wide):
    """A text as the mean of what an encoder makes of its first `tokens` tokens, in `width` columns, 1 long.

    `digest` pins the encoder's files (clients/data/encoding/encoders.py). Each site has them on its own machine,
    and names their folder in data.encoders of its site file. `trained_on` is what they were made of, in words.
    """

    LABEL: ClassVar[str] = "federation/encoder/1"

    text: Literal["encoder"] = Field(examples=['"encoder"'])
    digest: str = Field(examples=['"sha256:..."'])
    tokens: int = Field(ge=2, le=MOST_TOKENS, examples=["128"])
    width: int = Field(ge=2, le=MOST_WIDE, examples=["384"])
    trained_on: TrainedOn = Field(examples=['"a billion pairs of English sentences from the web, 2021"'])

    @field_validator("digest")
    @classmethod
    def _is_digest(cls, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            hint = "federation plan encoder FOLDER prints it"
            raise Mistake('must be "sha256:" and 64 hexadecimal digits', hint)
        return digest

    @property
    def vector(self) -> int:
        """The width."""
        return self.width

    @property
    def told(self) -> str:
        """Whose columns they are."""
        return f"{self.width} columns of encoder {self.digest[:19]}"

    def to_json(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "column": self.name,
            "digest": self.digest,
            "tokens": self.tokens,
            "trained_on": self.trained_on,
        }


def encoders_of(task: object) -> tuple[Encoder, ...]:
    """The features of a task that an encoder reads."""
    return tuple(feature for feature in getattr(task, "features", ()) if isinstance(feature, Encoder))


def promise(column: str, trained_on: str) -> str:
    """What is promised to people in an encoder's own data: a sentence."""
    return (
        f'The column "{column}" is read by an encoder that was trained on: {trained_on.rstrip(". ")}. '
        "Epsilon is of what this run trains, and says nothing about people in those data."
    )
