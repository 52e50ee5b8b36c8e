"""Whether a site does worse with the others than alone: both models on the very same held-out records.

A paired bootstrap: records are drawn anew (people, where a person may have several), and both models are judged on
the same draw, so that what makes a record hard for both cancels. Its standard error goes into a normal interval,
with Bonferroni's level over the sites: intervals that all hold together in 95 of 100 cases, so that one site in
twenty is not accused by chance alone. Only a simulation has the records in one place.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist, stdev
from typing import Final

import torch
from torch import Tensor, nn

from federation.model.task import Dataset
from federation.plan.measures import better
from federation.plan.outcomes import Outcome
from federation.plan.plan import Plan
from federation.report.figures.scores import BesideAlone, Than
from simulations.outcomes.judging import Judge, judge_of
from simulations.world import World

LEVEL: Final = 0.95
DRAWS: Final = 100
_MOST_RECORDS: Final = 2_000_000  # judged in all draws of a site: of large sites fewer draws say as much
_FEWEST: Final = 50
_KNOWN: Final = 0.9  # of the draws, that have the figure


def beside_alone(world: World, ours: Mapping[str, Tensor], alone: Mapping[str, Tensor]) -> BesideAlone:
    """Each site's gain in the first metric of the plan, of what both models said of its held-out records."""
    metric = world.plan.evaluation.metrics[0]
    names = [name for name in sorted(world.held_out) if name in ours and name in alone]
    z = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / max(1, len(names)))
    judge = judge_of(world.outcome)
    gains = {
        name: _Pair(world.plan, judge, metric, world.held_out[name], ours[name], alone[name]).than(z)
        for name in names
    }
    return BesideAlone(metric=metric, sites=gains)


def gained(plan: Plan, outcome: Outcome, data: Dataset, ours: Tensor, base: Tensor) -> Than:
    """The gain of one prediction of these records over another, in the plan's first metric, with its interval."""
    z, metric = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2), plan.evaluation.metrics[0]
    return _Pair(plan, judge_of(outcome), metric, data, ours, base).than(z)


def said_at_sites(world: World, model: nn.Module) -> Mapping[str, Tensor]:
    """What the run's model says of the held-out records of each site."""
    judge, held = judge_of(world.outcome), sorted(world.held_out.items())
    return {name: judge.predict(model, data.features) for name, data in held}


class _Pair:
    """What two models said of the same records."""

    def __init__(
        self, plan: Plan, judge: Judge, metric: str, data: Dataset, ours: Tensor, alone: Tensor
    ) -> None:
        self.judge, self.metric, self.threshold = judge, metric, plan.evaluation.threshold
        self.said, self.labels = (ours, alone), data.labels
        self.units = torch.arange(len(data)) if data.patients is None else _numbered(data.patients)

    def than(self, z: float) -> Than:
        """The gain and its interval; None where either model has no such figure, or few draws have it."""
        every = torch.arange(len(self.labels))
        gain = self._gain(every) if len(every) else None
        if gain is None:
            return Than(gain=None, low=None, high=None)
        number = max(_FEWEST, min(DRAWS, _MOST_RECORDS // len(every)))
        drawn = [self._gain(rows) for rows in _draws(self.units, number)]
        known = [one for one in drawn if one is not None]
        if len(known) < _KNOWN * len(drawn):
            return Than(gain=gain, low=None, high=None)
        half = z * stdev(known)
        # Without any difference between draws the records are too few to tell anything.
        return (
            Than(gain=gain, low=gain - half, high=gain + half)
            if half
            else Than(gain=gain, low=None, high=None)
        )

    def _gain(self, rows: Tensor) -> float | None:
        labels = self.labels[rows]
        ours, alone = (
            self.judge.measured(said[rows], labels, (self.metric,), self.threshold)[self.metric]
            for said in self.said
        )
        return None if ours is None or alone is None else better(self.metric, ours, alone)


def _numbered(patients: Tensor) -> Tensor:
    numbers: Tensor = torch.unique(patients, return_inverse=True)[1]
    return numbers


def _draws(units: Tensor, number: int) -> list[Tensor]:
    """So many times as many units as there are, with repetition, as rows. The same ones every time: no secret."""
    generator = torch.Generator().manual_seed(len(units))
    order = torch.argsort(units, stable=True)
    counts = torch.bincount(units)
    ends = counts.cumsum(0)
    found = []
    for _ in range(number):
        chosen = torch.randint(len(counts), (len(counts),), generator=generator)
        lengths = counts[chosen]
        starts = (ends - counts)[chosen].repeat_interleave(lengths)
        steps = torch.arange(len(starts)) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        found.append(order[starts + steps])
    return found
