"""The same training by what is here: site by site, as one cohort, and as whole simulated rounds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.simulation.plans import STILL, name_of, plan_of, terms_of, write_sites
from benchmarks.simulation.workloads import Batch, Workload
from clients.training.isolation import coins
from clients.training.local import poisson_batch
from clients.training.work import SiteWork, Trainer, site_stream
from federation import Plan, simulate
from federation.model.params import Layout
from federation.model.task import Dataset, Task, cross_entropy
from federation.round.terms import Terms
from privacy.mechanism.noise import Stream
from simulations.accounts import run as accounted
from simulations.cohort.program import CohortProgram
from simulations.simulate import is_measured
from simulations.vectorized import run_vectorized
from simulations.virtual.population import Population

NORM = 1.0


@dataclass(frozen=True)
class Cohort:
    """A workload's clients as sites of one round: the plan without noise, their data, the params at its start."""

    work: Workload
    plan: Plan
    terms: Terms
    trainers: Sequence[Trainer]
    params: Tensor
    round: int = 1

    @classmethod
    def of(cls, work: Workload) -> Cohort:
        """Without files."""
        plan, start = plan_of(work, "none"), work.initial()
        layout, task = Layout.of(start), Task(work.name, work.model, cross_entropy)
        trainers = [
            Trainer(task, Dataset(*work.records_of(client)), partial(site_stream, plan, name_of(client)))
            for client in range(work.clients)
        ]
        return cls(work, plan, terms_of(plan, work, layout.dimension), trainers, layout.flatten(start))

    def at(self, number: int) -> Cohort:
        """The same in another round."""
        return replace(self, round=number)

    def minibatches(self) -> list[list[Batch]]:
        """What each client's steps of the round see: a Poisson batch each, from the site's own stream."""
        return [list(self._batches(trainer)) for trainer in self.trainers]

    def _batches(self, trainer: Trainer) -> Sequence[Batch]:
        stream, training = trainer.stream(self.round).derive("batches"), self.plan.training
        drawn = [
            poisson_batch(trainer.data, training.sample_rate, stream) for _ in range(training.local_steps)
        ]
        return [(batch.features, batch.labels) for batch in drawn]

    def trained(self) -> list[Tensor]:
        """The mean change, by each way there is."""
        return [self.site_by_site(), self.as_one()]

    def site_by_site(self) -> Tensor:
        """The mean change, each site trained by itself: plainly, or each step clipped record by record."""
        total = torch.zeros(len(self.params), dtype=torch.float64)
        for client, trainer in enumerate(self.trainers):
            stream = trainer.stream(self.round)
            site = SiteWork(self.terms, name_of(client), self.params, trainer, stream)
            with coins(stream):
                total += site.noised_update(NORM, _as_it_is) if self.work.privately else site.update()
        return total / len(self.trainers)

    @cached_property
    def _programs(self) -> tuple[CohortProgram, CohortProgram]:
        data = {name_of(client): trainer.data for client, trainer in enumerate(self.trainers)}
        given = self.plan, self.trainers[0].task, data
        return CohortProgram(*given, device="cpu", alone=True), CohortProgram(*given, device="cpu")

    def as_one(self, cores: bool = False) -> Tensor:
        """The same as one tensor program, draws of the batches and all: here, or on all cores."""
        total, program = torch.zeros(len(self.params), dtype=torch.float64), self._programs[cores]
        if self.work.privately:
            secret = Stream(os.urandom(32))
            rows = program.noised_updates(self.terms, self.params, secret, NORM, lambda _, totals: totals)
        else:
            streams = [trainer.stream(self.round) for trainer in self.trainers]
            rows = program.updates(self.terms, self.params, streams)
        for _, part in rows:
            total += part.sum(dim=0)
        return total / len(self.trainers)


def _as_it_is(total: Tensor) -> Tensor:
    return total


@dataclass(frozen=True)
class Rounds:
    """Whole rounds of one run: milliseconds of the median one on the processor and by the clock, clients a second
    of all rounds by the report, and seconds of the whole call.

    A round is all that happens from its beginning to that of the next, accounts and checkpoints too. Rounds after
    which figures are computed are left out: a long run has few of them.
    """

    spent: float
    clocked: float
    clients_a_second: float
    seconds: float


def whole(
    sites: Path | Population,
    work: Workload,
    noise: str,
    rounds: int | None = None,
    *,
    own: bool = False,
    server: float = STILL,
    cohort: int | None = None,
    keep: Path | None = None,
) -> Rounds:
    """Simulate a workload over a folder of sites, or a population. `keep`: where the run stays."""
    rounds = rounds or work.rounds
    marks, started = list[tuple[float, float]](), perf_counter()

    def timed(*given: Any) -> Iterator[Any]:
        for step in run_vectorized(*given):
            yield step
            marks.append((process_time(), perf_counter()))

    plan = plan_of(work, noise, rounds, own=own, server=server, cohort=cohort)
    with tempfile.TemporaryDirectory() as folder, patch.object(accounted, "run_vectorized", timed):
        out = keep or Path(folder) / "run"
        report = simulate(plan, sites, out, device="cpu", baseline=False, public=True, seed=7)
    clients_a_second = report.timing.client_rounds_per_second or 0.0
    return Rounds(*_middle(marks, rounds), clients_a_second, perf_counter() - started)


def _middle(marks: Sequence[tuple[float, float]], rounds: int) -> tuple[float, float]:
    """Of the rounds that begin and end at marks, without those that are measured, the median: both times."""
    plain = [place for place in range(1, rounds) if not is_measured(place + 1, rounds)] or range(1, rounds)
    each = [
        [after - before for before, after in zip(*marks[place - 1 : place + 1], strict=True)]
        for place in plain
    ]
    spent, clocked = (1e3 * median(times) for times in zip(*each, strict=True))
    return spent, clocked


def with_sites(folder: Path, work: Workload, *, own: bool = False) -> Callable[[str], Rounds]:
    """Write the sites; then, by the noise, whole rounds over them."""
    sites = write_sites(folder / work.name, work, own=own)
    return lambda noise: whole(sites, work, noise, own=own)
