"""`[base]`: the frozen part of a model, which every party has already. It is in the digest that sites sign.

A digest is no provenance: `trained_on` says, in words, what the base was trained on. The plan's epsilon is about
the records of this run, and says nothing about people in those data.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from federation.config.schema import Mistake, Table

_DIGEST = r"^sha256:[0-9a-f]{64}$"
_LONGEST = 1000


def _in_words(words: str) -> str:
    if not words.strip() or not words.isprintable() or len(words) > _LONGEST:
        hint = 'write for example: trained_on = "English Wikipedia, 2022"'
        raise Mistake(f"must be 1 to {_LONGEST} printable characters, in one line", hint)
    return words


TrainedOn = Annotated[str, AfterValidator(_in_words)]
"""What something was trained on before, in words: nobody can check it, and every site signs it."""


class Base(Table):
    """`digest` is `federation.model.base.base_digest` of the model.

    `run`: the digest of the plan of an earlier run of these sites, if the base is what that run ended with. What
    it cost is charged at them already, to the same pools, and this run's charge comes on top.
    """

    digest: str = Field(pattern=_DIGEST, examples=['"sha256:..."'])
    trained_on: TrainedOn = Field(examples=['"English Wikipedia, 2022"'])
    run: str | None = Field(default=None, pattern=_DIGEST, examples=['"sha256:..."'])

    @property
    def told(self) -> str:
        """What the base was trained on, and what is promised to people in those data."""
        return told(self.trained_on, self.run)


def told(trained_on: str, run: str | None) -> str:
    """What a base was trained on, and what is promised to people in those data."""
    words = trained_on.rstrip(".")
    if run is None:
        return f"{words}. Epsilon says nothing about people in those data."
    return (
        f"{words}, in the run of plan {run}. Epsilon is of this run alone: for people in the data of both, what "
        "that run was charged comes on top, and each site's ledger adds it up."
    )
