"""What adds up the sites of a world."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from clients.site import Site
from clients.training.isolation import Tally
from clients.training.work import Trainer, site_stream
from federation.model.own import begun_own
from federation.plan.plan import Plan
from simulations.cohort.program import CohortProgram
from simulations.sums.adding import Adding, Begins, all_at_once, one_by_one
from simulations.sums.shelf import Shelf
from simulations.world import World


def adding_of(
    plan: Plan,
    world: World,
    own: Mapping[str, Site] = MappingProxyType({}),
    *,
    device: str = "auto",
    begins: Begins = lambda _terms, _params, _charged: None,
    shelves: Path | None = None,
) -> Adding:
    """Adds up the sites of a world under this plan; `own` are those that go by rules of their own.

    `shelves`: the folder of layers that simulated sites keep for themselves. Those train by their own code.
    """
    tally = Tally()
    trainers = _Trainers(plan, world, tally)
    if plan.kept:
        shelf = Shelf(partial(begun_own, world.task.model), shelves)
        return Adding(one_by_one(trainers, shelf), own, tally, begins, shelf=shelf)
    program = CohortProgram(plan, world.task, world.training, device=device, tally=tally)
    return Adding(all_at_once(program, trainers), own, tally, begins, program.prepare)


@dataclass(frozen=True)
class _Trainers(Mapping[str, Trainer]):
    """The trainer of each site, made when it is asked for."""

    plan: Plan
    world: World
    tally: Tally

    def __getitem__(self, name: str) -> Trainer:
        stream, data = partial(site_stream, self.plan, name), self.world.training[name]
        return Trainer(self.world.task, data, stream, self.world.held_out.get(name), self.tally)

    def __iter__(self) -> Iterator[str]:
        return iter(self.world.training)

    def __len__(self) -> int:
        return len(self.world.training)
