"""What a site has without the others: a model of its own records, by the same settings.

`pooled` is over all held-out records, each judged by the model of its own site: the very records that the
pooled figures of a federation are of, as they would be served today. A metric that ranks records (AUC) then
compares scores of several models, which need not mean the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from federation.config.schema import Mistake
from federation.config.tables import Privacy
from federation.plan.plan import Plan, kind_of
from federation.report.report import Metrics
from federation.round.messages import Member
from simulations.baseline import keep_figures, place_of, rounds_of, without_claim
from simulations.comparing.training import bare_privacy, for_one, measured, scores, together, train_one
from simulations.outcomes.judging import figures_said, judge_of
from simulations.world import World

MOST_SITES = 50
"""Beyond it nobody trains every site alone: it would cost more than all the rest."""

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)  # RecursionError, too

Step = Callable[[int, int], None]  # trainings' rounds that are done, of how many


@dataclass(frozen=True)
class Alone:
    """Figures of each site's own model: on its own held-out records, on those of all sites, and all together.

    `said`: what it says of its own held-out records, where that is known. It is no figure, and no part of the JSON.
    """

    pooled: Metrics
    own: Mapping[str, Metrics]
    elsewhere: Mapping[str, Metrics]
    said: Mapping[str, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "pooled": dict(self.pooled),
            "own": {site: dict(of) for site, of in self.own.items()},
            "elsewhere": {site: dict(of) for site, of in self.elsewhere.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Alone:
        """What `to_json` wrote. KeyError, TypeError or AttributeError for anything else."""
        own, elsewhere = (
            {str(site): dict(of) for site, of in content[name].items()} for name in ("own", "elsewhere")
        )
        return cls(dict(content["pooled"]), own, elsewhere)


def local_only(world: World, privacy: Privacy | None = None, step: Step = lambda _done, _all: None) -> Alone:
    """Every site by itself; without privacy, or under a claim of its own. TrainingDiverged if one has no model."""
    task = world.task
    plan = for_one(world.plan, privacy or bare_privacy(world.plan))
    done, whole = 0, plan.federation.rounds * len(world.members)
    params: dict[str, Tensor] = {}
    for member in world.members:
        before = done
        params[member.site] = train_one(
            plan, task, member, world.training[member.site], partial(_after, before, whole, step)
        )
        done += plan.federation.rounds
    held = dict(sorted(world.held_out.items()))
    everyone = together(held.values())
    said = {site: scores(task, params[site], data.features) for site, data in held.items()}
    asked, judge = (plan.evaluation.metrics, plan.evaluation.threshold), judge_of(task.predicts)
    return Alone(
        pooled=figures_said(task, judge, torch.cat(list(said.values())), everyone.labels, *asked),
        own={site: figures_said(task, judge, said[site], data.labels, *asked) for site, data in held.items()},
        elsewhere={site: measured(plan, task, params[site], everyone) for site in params},
        said=said,
    )


def _after(before: int, whole: int, step: Step, done: int) -> None:
    step(before + done, whole)


def kept_local_only(world: World, folder: Path, step: Step = lambda _done, _all: None) -> Alone:
    """`local_only` without privacy, which is the same for every epsilon: from `folder`, if it was made before.

    It is known there by all that it depends on (simulations/baseline.py). TrainingDiverged as there.
    """
    bare = without_claim(world.plan)
    place = place_of(folder, bare, world, next(rounds_of(bare, world, world.members)), "local-only/2")
    if place is not None:
        with suppress(*_UNREADABLE):
            content = json.loads(place.read_text("utf-8"))
            said = {site: _unpacked(*kept) for site, kept in content["said"].items()}
            return replace(Alone.from_json(content), said=said)
    found = local_only(world, step=step)
    if place is not None:
        packed = {site: _packed(one) for site, one in found.said.items()}
        keep_figures(place, {**found.to_json(), "said": packed})
    return found


def _packed(said: Tensor) -> tuple[str, list[int]]:
    """Numbers to every digit, and their shape."""
    return base64.b64encode(said.double().numpy().tobytes()).decode("ascii"), list(said.shape)


def _unpacked(text: str, shape: list[int]) -> Tensor:
    """What `_packed` wrote. ValueError or TypeError for anything else."""
    numbers = np.frombuffer(base64.b64decode(text, validate=True), np.float64)
    return torch.from_numpy(numbers.copy()).reshape(shape)


def all_in_one_place(
    world: World, step: Step = lambda _done, _all: None
) -> tuple[Metrics, dict[str, Metrics]]:
    """One training on everybody's records without privacy: its pooled metrics, and those at each site."""
    plan = for_one(world.plan, bare_privacy(world.plan))
    data = together(world.training[name] for name in sorted(world.training))
    size = sum(member.size for member in world.members)
    params = train_one(
        plan, world.task, Member("all", size), data, lambda done: step(done, plan.federation.rounds)
    )
    held = dict(sorted(world.held_out.items()))
    sites = {site: measured(plan, world.task, params, own) for site, own in held.items()}
    return measured(plan, world.task, params, together(held.values())), sites


def own_claim(plan: Plan) -> Privacy | None:
    """The claim under which a site would train alone at the plan's epsilon; None where that makes no sense.

    It adds its noise itself, so it needs no share of anybody's. Where the site is what is protected there is nobody
    else's record to learn from.
    """
    if plan.privacy.unit == "client":
        return None
    for noise in ("central", "site"):
        privacy = plan.privacy.model_copy(update={"noise": noise})
        try:
            kind_of(for_one(plan, privacy)).check()
        except Mistake:
            continue
        return privacy
    return None
