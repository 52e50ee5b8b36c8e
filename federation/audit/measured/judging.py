"""A verdict on figures: what of the plan they falsify, with a chance of 1 % at most to wrong a right mechanism.

Each look has its part of that chance. A look falsifies where the plan's own value lies outside the limits on the
side that costs privacy: less noise, a longer clip, a larger rate, more releases. Then all limits at their best for
the installation go to the auditor's accountant: if even they make a larger epsilon than the plan's, that is false,
too. A pass is no evidence of epsilon: a fault that none of these looks can see passes, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from federation.audit.measured import limits, onerun
from federation.audit.measured.figures import Figures
from federation.audit.measured.limits import Limits
from federation.errors import InputError
from federation.kinds.folds import trainings
from federation.plan.plan import Plan
from privacy.accounting.bounds import Mechanism, recount
from privacy.accounting.events import GaussianEvent
from privacy.mechanism.gaussian import FLOAT_SLACK

FALSE_ALARM = 0.01
LOOKS = 7  # that chance can make wrong: noise, clip, rate, two of independence, two of one run
CONFIDENCE = 0.05
CAVEAT = "a pass is not evidence of epsilon"
_CURVE = (1e-3, 1e-2, 0.05, 0.15, 0.35)  # deltas at which the trade-off is known
_SURELY = 1.5  # times the distance of a limit: 1.64 standard errors beyond about 3.2
_SLACK = 1e-3  # between the plan's accountant and the auditor's

_AS_LONG = {
    True: "by the plan's own model, of mock records that are clipped",
    False: "no mock record is as long as the clip, so this shows little",
}

_OF_WHOM = {
    True: "on sums with the shares of {} sites, or fewer by those that may be lost: all that epsilon counts on",
    False: "of one site, or of the server, in each release",
}

Outcome = Literal["as planned", "falsified", "not measured"]


@dataclass(frozen=True)
class Look:
    """One thing that was measured, and what the plan says of it."""

    name: str
    planned: float | None
    limits: Limits | None
    outcome: Outcome
    note: str = ""
    sees: str = ""  # the smallest fault that is found 19 times of 20

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        found = None if self.limits is None else [_finite(each) for each in self.limits]
        return {"look": self.name, "planned": self.planned, "measured": found, "outcome": self.outcome,
                "would_see": self.sees or None, "note": self.note or None}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What all looks came to. `bounds` are lower bounds on epsilon from one run, with 95 % confidence."""

    looks: tuple[Look, ...]
    epsilon: Limits | None
    claimed: float
    bounds: tuple[float, float] | None

    @property
    def falsified(self) -> tuple[str, ...]:
        """The names of the looks that do."""
        return tuple(look.name for look in self.looks if look.outcome == "falsified")

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "verdict": "falsified" if self.falsified else "pass",
            "falsified": list(self.falsified),
            "false_alarm": FALSE_ALARM,
            "looks": [look.to_json() for look in self.looks],
            "epsilon": {"claimed": self.claimed, "measured": self.epsilon and [*map(_finite, self.epsilon)]},
            "one_run": self.bounds and {"at_least": self.bounds[0], "at_least_gaussian": self.bounds[1]},
            "caveat": CAVEAT,
        }


def require_noise(plan: Plan) -> None:
    """InputError for a plan that promises nothing: no measurement can falsify that."""
    if not plan.is_private:
        hint = 'choose privacy.noise = "distributed" or "site" in the plan'
        raise InputError('a plan with noise = "none" promises nothing that could be falsified', hint=hint)


def judged(plan: Plan, figures: Figures) -> Verdict:
    """The verdict on a plan, from its text and the figures alone."""
    looks = list(_looks(plan, figures))
    by_name = {look.name: look for look in looks}
    epsilon = _epsilon(plan, figures, by_name)
    claimed = plan.privacy.epsilon or math.inf
    if epsilon is not None:
        outcome: Outcome = "falsified" if epsilon.lower > claimed * (1 + _SLACK) else "as planned"
        looks.append(Look("epsilon", claimed, epsilon, outcome))
    return Verdict(tuple(looks), epsilon, claimed, _bounds(plan, figures))


def _looks(plan: Plan, figures: Figures) -> Iterator[Look]:
    error = FALSE_ALARM / LOOKS / 2
    norm, kind = plan.privacy.clipping_norm or 0.0, plan.kind
    noise = limits.deviation(figures.squares, figures.quiet, error)
    multiplier, z = noise.times(1 / (norm + figures.rounding)), kind.noise_multiplier
    outcome, sees = _verdict(multiplier.upper < z), _sees(multiplier, less=True)
    yield Look(
        "noise multiplier", z, multiplier, outcome, _OF_WHOM[figures.sites > 1].format(figures.sites), sees
    )
    if figures.coins:
        blur = noise.upper * math.sqrt(figures.releases)
        rate = Limits(1.0, 1.0, 1.0)
        if kind.sample_rate < 1:
            rate = limits.rate(figures.short, figures.coins, figures.short_length, blur, error)
            outcome = _verdict(not rate.hold(kind.sample_rate))
            yield Look("sample rate", kind.sample_rate, rate, outcome, sees=_sees(rate))
        clip = limits.length(figures.long, figures.coins, rate, blur, error)
        yield Look("clipping bound", norm, clip, _verdict(not clip.hold(norm)), sees=_sees(clip))
    yield _reach(plan, figures)
    yield _releases(plan, figures)
    yield _independence(figures, error)
    yield _sent(figures)
    if figures.guesses:
        yield _one_run(plan, figures, error)


def _reach(plan: Plan, figures: Figures) -> Look:
    """Exact but for the grid: no chance is in it."""
    name, norm, found = f"reach of one {plan.privacy.unit}", plan.privacy.clipping_norm or 0.0, figures.reach
    if found is None:
        return Look(name, norm, None, "not measured", "the task makes no mock records")
    shortest = max(0.0, found - figures.reach_rounding)
    told = Limits(found, shortest, found + figures.reach_rounding)
    return Look(name, norm, told, _verdict(shortest > norm * (1 + FLOAT_SLACK)), _AS_LONG[found > norm / 2])


def _releases(plan: Plan, figures: Figures) -> Look:
    """Counted while they left, for all trainings that a unit is in; the plan says how many it charges for."""
    counted = figures.releases / figures.rounds * plan.federation.rounds * trainings(plan)
    event = plan.kind.event
    charged = event.count if isinstance(event, GaussianEvent) else 0
    note = f"{figures.releases} counted in {figures.rounds} rounds"
    return Look("releases", charged, Limits(counted, counted, counted), _verdict(counted > charged), note)


def _independence(figures: Figures, error: float) -> Look:
    pairs = figures.vectors * (figures.vectors - 1) // 2
    like = limits.likeness_chance(figures.likeness, figures.length, pairs)
    shared = limits.share_chance(figures.share, figures.vectors, figures.length)
    note = f"the likest two of {figures.vectors} draws of noise: {figures.likeness:.3f}"
    found = Limits(figures.likeness, figures.likeness, figures.likeness)
    return Look("likeness of draws", 0.0, found, _verdict(min(like, shared) < error), note)


def _sent(figures: Figures) -> Look:
    note = "what is sent follows from what was noised, and from nothing else"
    return Look("nothing beside", None, None, _verdict(not figures.follows), note)


def _one_run(plan: Plan, figures: Figures, error: float) -> Look:
    """Whether the guesses were right more often than this plan's epsilon, or its whole trade-off, allows."""
    epsilon, delta = plan.privacy.epsilon or math.inf, plan.privacy.delta or 0.0
    each = error / max(1, len(figures.guesses))
    curve = from_plan(plan, figures.guessed_after)
    pure = any(
        onerun.chance_of(right, of, figures.canaries, epsilon, delta) <= each for of, right in figures.guesses
    )
    sharp = any(
        onerun.is_incredible(right, of, figures.canaries, curve, each) for of, right in figures.guesses
    )
    best = ", ".join(f"{right} of {of}" for of, right in figures.guesses)
    return Look("guesses from one run", None, None, _verdict(pure or sharp), f"right: {best}")


def from_plan(plan: Plan, releases: int) -> onerun.Inverse:
    """The trade-off that the plan has after so many releases, as the auditor's accountant bounds it."""
    played = [Mechanism(plan.kind.noise_multiplier, plan.kind.sample_rate, max(1, releases))]
    return onerun.from_curve([(recount(played, delta).upper, delta) for delta in _CURVE])


def _epsilon(plan: Plan, figures: Figures, looks: dict[str, Look]) -> Limits | None:
    """Of the whole run, by the auditor's accountant, from what was measured and from its limits on either side."""
    delta, whole = plan.privacy.delta, Limits(1.0, 1.0, 1.0)
    clip = looks["clipping bound"].limits if "clipping bound" in looks else _longest(figures)
    rate = looks["sample rate"].limits if "sample rate" in looks else whole
    z, counted = looks["noise multiplier"].limits, looks["releases"].limits
    if clip is None or rate is None or z is None or counted is None or delta is None:
        return None
    norm, count = plan.privacy.clipping_norm or 0.0, max(1, round(counted.found))
    noise = z.times(norm + figures.rounding)
    shortest = max(clip.lower, figures.reach - figures.reach_rounding if figures.reach is not None else 0.0)
    if not math.isfinite(clip.upper) or shortest <= 0:
        return None

    def cost(deviation: float, each: float, chance: float) -> Mechanism:
        sampled = 1.0 if chance > 1 - 1e-9 else max(chance, 1e-9)
        return Mechanism(deviation / (each + figures.rounding), sampled, count)

    found = recount([cost(noise.found, clip.found, rate.found)], delta)
    least = recount([cost(noise.upper, shortest, rate.lower)], delta)
    most = recount([cost(noise.lower, clip.upper, rate.upper)], delta)
    return Limits(found.upper, least.lower, most.upper)


def _longest(figures: Figures) -> Limits | None:
    """The clip of whole sites, which no number of them shows through the noise, but their reach does."""
    if figures.reach is None:
        return None
    return Limits(figures.reach, figures.reach - figures.reach_rounding, figures.reach)


def _bounds(plan: Plan, figures: Figures) -> tuple[float, float] | None:
    if not figures.guesses:
        return None
    delta = plan.privacy.delta or 0.0
    asked = figures.guesses, figures.canaries, delta, CONFIDENCE
    return onerun.least_epsilon(*asked), onerun.least_gaussian(*asked)


def _sees(found: Limits, *, less: bool = False) -> str:
    """How far off the truth has to be for limits as wide as these to leave the plan out, 19 times of 20."""
    if not (found.found > 0 and math.isfinite(found.upper)):
        return ""
    off = _SURELY * ((found.found - found.lower) if less else (found.upper - found.found)) / found.found
    return f"{'-' if less else '+'}{100 * off:.2g} %"


def _verdict(is_false: bool) -> Outcome:
    return "falsified" if is_false else "as planned"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
