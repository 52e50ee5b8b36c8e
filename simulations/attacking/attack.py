"""An attack on a simulated run: who was in the data of the params that it released?

    run, records -> the run's own members and others  -> two attacks on the released params
                 -> models trained anew by coins       -> the same attacks on those, half by half

The first is about these very params; the second about the plan, with many more coins. Both are held against what
the plan proves. Only a simulation is attacked: of a real run this would be done to people.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from clients.data.folders import find_sites
from federation.errors import CheckpointError, InputError, OtherRun
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask
from federation.report.files import read_report
from federation.report.report import Report
from federation.report.said.finished import Finished, open_run, plan_of, require_whole
from privacy.mechanism.noise import Stream
from simulations.attacking.figures import Found, found
from simulations.attacking.models import Models, Told, said_of, trained
from simulations.attacking.people import People, people_of
from simulations.attacking.proven import Proven, proven_of
from simulations.attacking.scores import ATTACKS
from simulations.attacking.verdict import Count, counts_of_models, counts_of_pairs, paired
from simulations.summary import model_of, pooled_metrics
from simulations.world import World, read_world

RELEASED: Final = "released"
RETRAINED: Final = "retrained"
_CLOSE = 1e-6  # of metrics that are computed twice
_REAL = "this is a run of real sites: an attack would be on the people in their data"
_OTHER = "name the folder of sites that the run was simulated on, as it was then"
_TEST_FILES = (
    "the sites brought test files of their own, so nobody knows that chance parted members from others"
)
_SEVERAL = "members and others are not parted one by one: the same person may be on both sides"
_FEW = "too few pairs of a member and another of the same class and site"
_LOOSE = "the plan allows so much, or there are so few guesses, that no count could be above it"
_NOTHING = "nothing is proven for this plan"


@dataclass(frozen=True)
class Target:
    """What was attacked: figures of each attack, and what they are held against; `why` says why they are not."""

    found: Mapping[str, Found]
    counts: Sequence[Count]
    why: str = ""

    @property
    def exceeds(self) -> bool:
        """Whether an attack found more than is proven."""
        return any(one.exceeds for one in self.counts)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        one = next(iter(self.found.values()))
        return {
            "members": one.members,
            "others": one.others,
            "attacks": {name: each.to_json() for name, each in self.found.items()},
            "held_against": {
                "exceeds": self.exceeds if self.counts else None,
                "counts": [each.to_json() for each in self.counts],
                "why_not": self.why or None,
            },
        }


@dataclass(frozen=True)
class Attacked:
    """All of it."""

    plan: Plan
    people: People
    models: int
    proven: Proven | None
    targets: Mapping[str, Target]

    @property
    def held(self) -> bool:
        """Whether anything was held against what is proven."""
        return any(target.counts for target in self.targets.values())

    @property
    def exceeds(self) -> bool:
        """Whether anything was found that the plan proves to be (nearly) impossible."""
        return any(target.exceeds for target in self.targets.values())


def attack(
    run: Path,
    data: Path,
    models: int | None = None,
    stage: Callable[[str], None] = lambda _: None,
    told: Told = lambda _done, _all: None,
    secret: Stream | None = None,
) -> Attacked:
    """Attack a simulated run, whose sites are in the folder `data`, with so many models of one's own.

    `secret` tosses the coins. InputError for a run that is not simulated, or has nobody who was left out; OtherRun
    for other data.
    """
    finished = _opened(run)
    stage("reading the data")
    world = _world(finished, data)
    people, secret = people_of(world), secret or Stream(os.urandom(32))
    own = trained(world, people, models, secret, told)
    stage("attacking")
    proven = proven_of(world.plan, people)
    targets = {
        RELEASED: _released(finished, world, people, own, proven, secret.derive("pairs")),
        RETRAINED: _retrained(people, own, proven),
    }
    return Attacked(world.plan, people, len(own), proven, targets)


def _opened(run: Path) -> Finished:
    """The run, refused before anything of it is used if it is not one to be attacked."""
    plan = plan_of(run)
    if plan.evaluation.folds is not None:
        hint = "simulate a plan without evaluation.folds, which holds records out"
        raise InputError("a plan with folds ends in a model of all records: nobody was left out", hint=hint)
    if plan.task_is_tally:
        raise InputError("this run trained nothing", hint="attack a run that trained a model")
    finished = open_run(run)
    if not finished.simulated:
        raise InputError(_REAL, hint="simulate the plan on public or mock data, and attack that run")
    require_whole(finished)
    return finished


def _world(finished: Finished, data: Path) -> World:
    """The sites of the run. OtherRun if the folder does not hold what the run was simulated on."""
    torch.set_num_threads(1)
    plan = finished.plan
    sites = find_sites(data, any_format=not isinstance(plan.task, TabularTask)).sites
    for entry in sites:
        if entry.site_file is not None:
            told = f"site {entry.name} has a ledger of its own, which says on what its records are trained"
            raise InputError(told, hint="attack a run on a copy of the folder without site.toml")
    report = _report(finished.path)
    if report.fold is not None:
        raise InputError("this run is a fold of a cross-validation", hint="attack a run of --out by itself")
    world = read_world(plan, sites)
    known = {site.id: site.records for site in report.sites}
    if known != {name: len(one) for name, one in world.training.items()}:
        raise OtherRun(f"{data} does not hold the sites and records of {finished.path}", hint=_OTHER)
    measured = pooled_metrics(world, model_of(world, finished.params))
    for name, value in measured.items():
        before = report.evaluation.pooled.get(name)
        if value is not None and before is not None and abs(value - before) > _CLOSE:
            raise OtherRun(f"the records in {data} are not those of {finished.path}", hint=_OTHER)
    return world


def _report(run: Path) -> Report:
    try:
        return read_report(run)
    except CheckpointError:
        raise OtherRun(f"{run}: report.json is none of this version", hint="simulate again") from None


def _released(
    finished: Finished, world: World, people: People, own: Models, proven: Proven | None, secret: Stream
) -> Target:
    """The params of the run, with all models known."""
    losses, logits = said_of(world.task, finished.params, people)
    asked = Models(people.members[None], losses[None], logits[None])
    scores = {name: score(asked, own)[0] for name, score in ATTACKS.items()}
    figures = {name: found(each, people.members) for name, each in scores.items()}
    why = _NOTHING if proven is None else _why_not_paired(world, people)
    pairs = None if why else paired(people, scores, secret)
    if proven is None or pairs is None:
        return Target(figures, (), why or _FEW)
    told = counts_of_pairs(pairs, proven.replaced)
    return Target(figures, told, "" if told else _LOOSE)


def _why_not_paired(world: World, people: People) -> str:
    """Why chance is not known to have parted members from others; "" where it is."""
    if any(len(files) > 1 for files in world.files.values()):
        return _TEST_FILES
    known = any(one.patients is not None for one in world.training.values())
    return _SEVERAL if people.sites > 1 or (known and people.unit != "patient") else ""


def _retrained(people: People, own: Models, proven: Proven | None) -> Target:
    """Each half of the models, with the other half known."""
    half, tossed = len(own) // 2, people.tossed
    folds = [(own.part(slice(half)), own.part(slice(half, None)))]
    folds.append(folds[0][::-1])
    scores = [{name: each(*fold)[:, tossed] for name, each in ATTACKS.items()} for fold in folds]
    within = [asked.within[:, tossed] for asked, _ in folds]
    bits = np.concatenate(within).reshape(-1)
    figures = {name: found(np.concatenate([of[name] for of in scores]).reshape(-1), bits) for name in ATTACKS}
    if proven is None:
        return Target(figures, (), _NOTHING)
    told = counts_of_models(list(zip(scores, within, strict=True)), proven.pair)
    return Target(figures, told, "" if told else _LOOSE)
