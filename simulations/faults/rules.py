"""How often sites of a simulation are lost, and why: a table `[simulation]`, in a file of its own.

It is no part of a plan. What sites approve, and what a digest names, says nothing of faults: a real run has those
that come, and a plan.toml with such a table is refused as one with any other unknown key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from federation.config.schema import Mistake, Table, validate
from federation.config.toml import Document, parse, read
from federation.errors import InputError, UnusableFile

_Chance = Annotated[float, Field(ge=0, le=1)]
_Rounds = Annotated[int, Field(ge=1, le=1_000_000)]
_Seconds = Annotated[float, Field(ge=0, le=86400 * 7)]
_KINDS = ("dropouts", "after_vote", "restarts", "stragglers")


class Faults(Table):
    """`[simulation]`: chances are those of one site in one round; of these four it meets at most one.

    `dropouts`: its update does not arrive, and it is silent until the round is over. `after_vote`: its update
    arrives, and then it is silent. `restarts`: as the first, and it is away for `away_rounds` more.
    `stragglers`: its update takes up to `delay_seconds` longer, evenly; it is lost if the server does not wait so
    long. `late`: the chance of a site to join only after 1 to `late_rounds` rounds. Training takes each site
    `training_seconds`.
    """

    seed: int = Field(default=0, ge=0, lt=1 << 53, examples=["7"])
    dropouts: _Chance = Field(default=0.0, examples=["0.05"])
    after_vote: _Chance = Field(default=0.0, examples=["0.01"])
    restarts: _Chance = Field(default=0.0, examples=["0.01"])
    away_rounds: _Rounds = Field(default=3, examples=["3"])
    stragglers: _Chance = Field(default=0.0, examples=["0.1"])
    delay_seconds: _Seconds = Field(default=60.0, examples=["60"])
    late: _Chance = Field(default=0.0, examples=["0.1"])
    late_rounds: _Rounds = Field(default=5, examples=["5"])
    training_seconds: _Seconds = Field(default=1.0, examples=["1"])

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if sum(getattr(self, name) for name in _KINDS) > 1:
            reason = f"{', '.join(_KINDS[:-1])} and {_KINDS[-1]} add up to more than 1"
            raise Mistake(reason, "a site meets at most one of them in a round: lower one", (_KINDS[0],))
        return self

    def to_json(self) -> dict[str, int | float]:
        """All of it, as a report has it."""
        return dict(self.model_dump())


class _File(Table):
    simulation: Faults = Field(examples=["[simulation]"])


def load_faults(given: str) -> Faults:
    """The faults in a file, or those written out as "dropouts=0.05, seed=7". InputError says what is wrong."""
    if "=" not in given:
        return validate(_File, read(Path(given))).simulation
    values: dict[str, Any] = {}
    for part in (part.strip() for part in given.split(",")):
        try:
            said = parse(part).data
        except UnusableFile:
            hint = 'write for example: --faults "dropouts=0.05, stragglers=0.1, seed=7", or name a file'
            raise InputError(f'"{part}" of --faults is no key with a number', hint=hint) from None
        if twice := sorted(values.keys() & said.keys()):
            raise InputError(f"--faults says {twice[0]} twice", hint="keep one of the two")
        values |= said
    return validate(_File, Document("", {"simulation": values})).simulation
