"""From what left to figures: who is guessed to be in, how much noise there is, what canaries add up to."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clients.measuring.canaries import SHORT, Canaries, canaries, copies_for
from clients.measuring.playing import Floats, Seen, Stage, Tell, played
from clients.measuring.reach import Moved, reach
from federation.audit.measured.figures import Figures, Places
from federation.plan.plan import Plan
from privacy.mechanism.noise import SIGMA, Stream

CANARIES = 1000
SECONDS = 60.0
_CONTRIBUTIONS = 20_000
_RELEASES = 2000
_ROUNDS = 50  # at least, of as many runs as it takes
_GUESSES = (0.05, 0.1, 0.2, 0.4, 1.0)

Tells = Callable[[str], Tell]


def _silent(_done: int, _total: int) -> None:
    """Nobody listens."""


def sites_of(plan: Plan) -> int:
    """How many sites the cohort that is played has: as many as the plan says, or at least needs."""
    size = plan.cohort.size
    return size if isinstance(size, int) else plan.cohort.minimum


def measured(
    plan: Plan,
    site: str,
    tell: Tells = lambda _what: _silent,
    seconds: float = SECONDS,
    encoders: tuple[Path, ...] = (),
) -> Figures:
    """The figures of this installation under a plan. No record is read, no ledger opened, nothing sent.

    `tell` of what goes on gives what is told how far it is. `encoders`: folders of those that read its texts.
    """
    sites, steps = sites_of(plan), max(1, plan.kind.releases_per_round)
    bounds = max(2, _CONTRIBUTIONS // sites), max(2, _RELEASES // steps)
    most = min(max(plan.federation.rounds, _ROUNDS), *bounds)
    moved = reach(plan, site, sites, tell("one record more, and one less"), encoders)
    plan = plan.model_copy(update={"personal": None})  # the canaries' model has one layer, which travels
    made = canaries(_places(plan, sites, most * steps), plan, Stream(os.urandom(32)))
    stage = Stage(plan, site, made, sites)
    seen = played(stage, most, seconds, tell("rounds with canaries"))
    return figures_of(plan, stage, seen, moved)


def _places(plan: Plan, sites: int, releases: int) -> Places:
    """As many coordinates as show what one missing share of noise is, or as the grid allows."""
    quiet = int(min(8000, max(1000, 65 * sites * sites / releases)))
    most = int((SIGMA / (plan.kind.noise_multiplier * 11)) ** 2)  # of one share: more of them allow more
    if plan.privacy.unit == "client":  # is itself the canary
        return Places(0, min(CANARIES + quiet, most - 2), 0)
    copies = copies_for(plan.kind.sample_rate, releases)
    if CANARIES + 2 + quiet > most:
        return Places(most // 2 - 2, most - most // 2, copies)
    return Places(CANARIES, quiet, copies)


def figures_of(plan: Plan, stage: Stage, seen: Seen, moved: Moved | None) -> Figures:
    """Everything that limits and verdict follow from."""
    made, places, norm = stage.canaries, stage.canaries.places, plan.privacy.clipping_norm or 0.0
    released = np.stack(seen.released)
    nobody = np.ones(places.dimension, bool)
    nobody[: places.alone] = ~made.inside
    nobody[[places.long, places.short]] = False
    quiet, noises = released[:, nobody], np.stack(seen.noises)[:, nobody]
    share, likeness = alike(noises)
    of_one_run = released[: plan.federation.rounds * max(1, plan.kind.releases_per_round), : places.alone]
    return Figures(
        rounds=seen.rounds,
        releases=seen.batches,
        sites=seen.sites,
        rounding=math.sqrt(places.dimension) * plan.kind.mechanism(stage.terms().parties).step,
        quiet=quiet.size,
        squares=float((quiet * quiet).sum()),
        coins=places.copies * len(released),
        long=float(released[:, places.long].sum()),
        short=float(released[:, places.short].sum()),
        short_length=SHORT * norm,
        vectors=len(noises),
        length=noises.shape[1],
        share=share,
        likeness=likeness,
        follows=seen.follows,
        reach=None if moved is None else moved.farthest,
        reach_rounding=0.0 if moved is None else moved.rounding,
        canaries=places.alone,
        guessed_after=len(of_one_run),
        guesses=guessed(scores(plan, of_one_run), made),
    )


def alike(noises: Floats) -> tuple[float, float]:
    """The share of all noise that is in its sum, and the largest cosine of two vectors, by magnitude."""
    whole = float((noises * noises).sum())
    share = float((noises.sum(axis=0) ** 2).sum()) / (len(noises) * whole) if whole > 0 else 1.0
    lengths = np.linalg.norm(noises, axis=1, keepdims=True)
    unit = noises / np.where(lengths > 0, lengths, 1.0)
    cosines = np.abs(unit @ unit.T)
    np.fill_diagonal(cosines, 0.0)
    return share, min(1.0, float(cosines.max())) if len(noises) > 1 else 0.0


def scores(plan: Plan, values: Floats) -> Floats:
    """How much all releases speak for each canary being in: the log of its odds, if the mechanism is the plan's."""
    if not values.size:
        return np.zeros(0)
    z, rate, norm = plan.kind.noise_multiplier, plan.kind.sample_rate, plan.privacy.clipping_norm or 1.0
    tilted = (2 * values / norm - 1) / (2 * z * z)
    out = math.log1p(-rate) if rate < 1 else -math.inf
    found: Floats = np.logaddexp(out, math.log(rate) + tilted).sum(axis=0)
    return found


def guessed(found: Floats, made: Canaries) -> tuple[tuple[int, int], ...]:
    """Of the highest scores "in", of the lowest "out": how many of so many guesses were right."""
    order, count = np.argsort(found, kind="stable"), len(found)
    result: list[tuple[int, int]] = []
    for part in _GUESSES:
        half = int(part * count / 2)
        if half and (not result or result[-1][0] != 2 * half):
            right = int((~made.inside[order[:half]]).sum() + made.inside[order[-half:]].sum())
            result.append((2 * half, right))
    return tuple(result)
