"""How a table is dealt to sites: what a call may ask for, and what it may not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from federation.errors import InputError

Skew = Literal["by", "dirichlet", "quantity", "shift", "iid"]
SKEWS: tuple[Skew, ...] = get_args(Skew)

MAX_SITES = 10_000
MOST_HELD_OUT = 0.9
_ALPHAS = (0.001, 1e6)
_SEEDS = 1 << 53


@dataclass(frozen=True)
class Rule:
    """One way to deal. `strength` is alpha of a Dirichlet distribution, or how far a feature shifts.

    `by` and `feature` name a column for the skews that go by one. `label` is the column of the classes, None for
    the last one if it has few values. `patient` says whose a row is: a person's rows stay together, but for a
    share `across` of all people, who go to two sites.
    """

    skew: Skew
    strength: float = math.nan
    sites: int | None = None
    by: str | None = None
    feature: str | None = None
    label: str | None = None
    patient: str | None = None
    across: float = 0.0
    test: float = 0.0
    minimum: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_sites()
        self._check_strength()
        self._check_people()
        if not 0 <= self.test <= MOST_HELD_OUT:
            raise InputError(f"--test must be a share from 0 to {MOST_HELD_OUT}", hint="for example 0.2")
        if self.minimum < 1:
            raise InputError("--minimum must be 1 or more", hint="no site is without rows")
        if not 0 <= self.seed < _SEEDS:
            raise InputError("--seed must be a whole number from 0 to 2^53", hint="for example 7")

    def _check_sites(self) -> None:
        if self.skew == "by":
            if self.sites is not None:
                raise InputError("--sites and --by contradict each other", hint="the column says how many")
            return
        if self.sites is None:
            raise InputError(f"--{self.skew} goes with --sites", hint="say how many sites there are to be")
        if not 2 <= self.sites <= MAX_SITES:
            hint = "a plan needs three or more"
            raise InputError(f"--sites must be from 2 to {MAX_SITES:,}", hint=hint)

    def _check_strength(self) -> None:
        if self.skew in ("dirichlet", "quantity") and not _ALPHAS[0] <= self.strength <= _ALPHAS[1]:
            hint = "small for sites that differ, 100 for sites that are alike; 0.3 is usual"
            raise InputError(f"--{self.skew} must be from {_ALPHAS[0]:g} to {_ALPHAS[1]:g}", hint=hint)
        if self.skew == "shift":
            if not 0 <= self.strength <= 1:
                hint = "1 gives each site a range of its own, 0 shifts nothing"
                raise InputError("--shift must be from 0 to 1", hint=hint)
            if self.feature is None:
                raise InputError("--shift goes with --feature", hint="name the column of numbers that shifts")
        elif self.feature is not None:
            raise InputError("--feature goes with --shift", hint="leave it out")

    def _check_people(self) -> None:
        if not 0 <= self.across <= 1:
            raise InputError("--across must be a share from 0 to 1", hint="for example 0.05")
        if self.across and self.patient is None:
            raise InputError("--across goes with --patient", hint="name the column that says whose a row is")
        if self.across and self.skew == "by":
            hint = "the column says at which sites a person is"
            raise InputError("--across and --by contradict each other", hint=hint)


def rule_of(
    by: str | None, dirichlet: float | None, quantity: float | None, shift: float | None, iid: bool
) -> tuple[Skew, float]:
    """The one skew that is asked for, and its strength. InputError for none, or several."""
    asked: dict[Skew, float] = {} if by is None else {"by": math.nan}
    given: dict[Skew, float | None] = {"dirichlet": dirichlet, "quantity": quantity, "shift": shift}
    asked |= {skew: number for skew, number in given.items() if number is not None}
    if iid:
        asked["iid"] = math.nan
    if len(asked) != 1:
        what = "nothing says how the rows are dealt" if not asked else "the rows can be dealt in one way only"
        raise InputError(what, hint="give one of " + ", ".join(f"--{skew}" for skew in SKEWS))
    return next(iter(asked.items()))
