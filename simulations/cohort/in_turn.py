"""The sites of a cohort one after the other by one model, on every core where that pays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from clients.training.isolation import coins, listening, seed_of, seeded
from clients.training.local import poisson_rows
from clients.training.work import SiteWork, Trainer, population
from privacy.mechanism.noise import Stream
from simulations.cohort.pool import Job, Pool
from simulations.cohort.slices import RAISED, Setting
from simulations.cohort.turns import Turns


@dataclass(frozen=True)
class Turn:
    """What one model does for a site of a round (`simulations.cohort.pool.Work`): no secret is needed for it."""

    setting: Setting
    turns: Turns

    def begin(self, params: Tensor) -> None:
        """A round begins at these params."""
        self.turns.begin(params)

    def result(self, job: Job) -> Tensor:
        """What plain training changed; NaN where the task's code raised."""
        name, rows, expected, seed = job
        data = self.setting.data[name]
        with suppress(*RAISED):
            return self.turns.update(map(data.at, rows), self.setting.terms.plan.training, expected, seed)
        return torch.full((len(self.setting.params),), torch.nan, dtype=torch.float64)


def in_turn(
    setting: Setting, turn: Turn, pool: Pool | None, names: Sequence[str], streams: Iterator[Stream]
) -> Iterator[Tensor]:
    """What plain training changed at every site, (d,) float64, in order."""
    kept: list[tuple[Job, Stream]] = []

    def jobs() -> Iterator[Job]:
        training = setting.terms.plan.training
        for name, stream in zip(names, streams, strict=True):
            data, batches = population(setting.terms, setting.data[name]), stream.derive("batches")
            rows = [poisson_rows(data, training.sample_rate, batches) for _ in range(training.local_steps)]
            seed = seed_of(stream) if turn.turns.draws else 0
            job = name, rows, training.sample_rate * setting.terms.size(name), seed
            kept.append((job, stream))
            yield job

    if pool is None:
        turn.begin(setting.params)
    found = map(turn.result, jobs()) if pool is None else pool.results(setting.params, jobs())
    for result in found:
        (name, rows, _, seed), stream = kept.pop(0)
        if bool(torch.isfinite(result.sum())):
            yield result
        else:
            with seeded(seed) if turn.turns.draws else coins(stream):
                yield _alone(setting, name, stream, rows)


def _alone(setting: Setting, name: str, stream: Stream, rows: Sequence[Tensor]) -> Tensor:
    """By the site's own code, on the batches that were drawn."""
    trainer = Trainer(setting.task, setting.data[name], lambda _: stream, tally=setting.tally)
    with listening():
        return SiteWork(setting.terms, name, setting.params, trainer, stream, rows).update()
