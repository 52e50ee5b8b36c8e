"""The points of a frontier: one plan, with another epsilon or place of the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from federation.config.toml import inline, with_value
from federation.errors import InputError, PlanError
from federation.plan.plan import Plan, parse
from privacy.errors import PrivacyError
from simulations.comparing.personal import require_whole

NOISES = ("distributed", "site", "central")
MOST = 1000  # runs of one frontier
CAUTION = (
    "A choice made by exact figures is covered by no epsilon: "
    "choose on public or mock data, or on a charged evaluation."
)


@dataclass(frozen=True)
class Point:
    """One epsilon with one place of the noise. `refused`: why no such plan can be run, "" if it can."""

    epsilon: float
    noise: str
    text: str
    plan: Plan | None
    refused: str = ""
    is_wrong: bool = False  # refused as no plan at all, not for privacy

    @property
    def name(self) -> str:
        """Of its files and folders."""
        return f"epsilon-{self.epsilon:g}-{self.noise}"

    def file(self) -> str:
        """Its plan.toml, for people to copy."""
        head = f"# Of a trade-off: epsilon {self.epsilon:g}, noise {self.noise}. {CAUTION}"
        return f"{head}\n\n{self.text.lstrip()}"


def points_of(text: str, epsilons: Sequence[float], noises: Sequence[str]) -> tuple[Point, ...]:
    """All of them: place by place, epsilon ascending."""
    return tuple(_point(text, epsilon, noise) for noise in noises for epsilon in epsilons)


def _point(text: str, epsilon: float, noise: str) -> Point:
    changed = with_value(text, ("privacy", "epsilon"), repr(epsilon))
    changed = with_value(changed, ("privacy", "noise"), inline(noise))
    try:
        plan = parse(changed)
        plan.kind.event  # noqa: B018 - calibrates: some epsilons no noise can keep
    except (PlanError, PrivacyError) as error:
        return Point(
            epsilon, noise, changed, None, " ".join(str(error).split()), isinstance(error, PlanError)
        )
    return Point(epsilon, noise, changed, plan)


def epsilons_of(words: str) -> tuple[float, ...]:
    """The numbers of "0.5,1,2", each once, ascending. InputError for anything else."""
    found = set[float]()
    for word in words.split(","):
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number > 0):
            hint = "write numbers above 0 with commas between them: --epsilon 0.5,1,2,4,8"
            raise InputError("is no list of epsilons", hint=hint, key="--epsilon", value=words[:40])
        found.add(number)
    return tuple(sorted(found))


def noises_of(words: str | None, plan: Plan) -> tuple[str, ...]:
    """The places of "distributed,site", each once, in that order; without words, the plan's own."""
    if words is None:
        return (plan.privacy.noise,)
    found = dict.fromkeys(word.strip() for word in words.split(","))
    unknown = [word for word in found if word not in NOISES]
    if unknown:
        hint = f"one or more of {', '.join(NOISES)}, with commas between them"
        raise InputError(f"{inline(unknown[0][:40])} is no place of noise", hint=hint, key="--noise")
    return tuple(found)


def seeds_of(plan: Plan, count: int) -> tuple[int, ...]:
    """The plan's own seed, and those that follow it."""
    return tuple(plan.federation.seed + number for number in range(count))


def require_frontier(plan: Plan, path: Path | None, epsilons: int, noises: int, seeds: int) -> None:
    """InputError for a plan without privacy, and for more runs than anybody waits for.

    Also where layers are each site's own: what such a run ends with is no whole model, and a curve would show that.
    """
    if not plan.is_private:
        hint = "give the plan noise, epsilon, delta and clipping_norm"
        raise InputError(
            "claims nothing, so there is nothing to trade", hint=hint, path=path, key="privacy.noise"
        )
    require_whole(plan)
    if epsilons * noises * seeds > MOST:
        message = f"{epsilons * noises * seeds} runs; at most {MOST} make a frontier"
        raise InputError(message, hint="give fewer epsilons, places of noise or seeds")
