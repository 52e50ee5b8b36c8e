"""A population of virtual sites, and the world of a simulation over them.

Nothing is kept for a site that takes part in no round, and of those that do a bounded number is held at once. So a
simulation needs memory for a cohort, whatever the size of the population.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch import Tensor

from clients.data.load import protected
from federation.errors import DataError
from federation.model.task import Dataset, build_task
from federation.plan.outcomes import Classes, Outcome
from federation.plan.plan import Plan, check_delta
from federation.round.cohort import sample_places
from federation.round.messages import Member
from privacy.roster import Roster, SignedRoster
from privacy.signing import public_identity
from simulations.world import World, identity

HELD = 8192  # sites of which the data are held at once
LABELS = 1000  # sites whose labels say how frequent each class is
HELD_OUT = "held out"


@runtime_checkable
class Population(Protocol):
    """Where virtual sites come from. It gives the same at every call, in every process that resumes a run.

    Data are as `Dataset` says, for the plan's task: checked, features in the ranges of the plan, labels from 0.
    """

    def __len__(self) -> int:
        """How many sites there are."""

    def name(self, place: int) -> str:
        """The id of the site at a place from 0 on. Ids ascend with their places."""

    def load(self, name: str) -> Dataset:
        """What this site trains on, at least one record."""

    def held_out(self) -> Dataset:
        """Records of nobody's site, to measure the model on."""


class Names(Sequence[str]):
    """The ids of a population, without a list of them."""

    def __init__(self, population: Population) -> None:
        self._population = population

    def __len__(self) -> int:
        return len(self._population)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]  # an index, or a slice
        if isinstance(place, slice):
            return tuple(self._population.name(each) for each in range(*place.indices(len(self))))
        if not 0 <= place < len(self):
            raise IndexError(place)
        return self._population.name(int(place))


class Loaded(Mapping[str, Dataset]):
    """The data of sites by id, of which those used last are held."""

    def __init__(self, plan: Plan, population: Population) -> None:
        self._plan, self._population = plan, population
        self._held: OrderedDict[str, Dataset] = OrderedDict()

    def __getitem__(self, name: str) -> Dataset:
        found = self._held.pop(name, None)
        if found is None:
            found = self._population.load(name)
            if len(found) == 0:
                raise DataError(f"the site {name} has no records", hint="leave it out of the population")
            if self._plan.privacy.unit != "client":
                check_delta(self._plan, protected(self._plan, found))
        self._held[name] = found
        if len(self._held) > HELD:
            self._held.popitem(last=False)
        return found

    def __len__(self) -> int:
        return len(self._population)

    def __iter__(self) -> Iterator[str]:
        return iter(Names(self._population))


@dataclass(frozen=True)
class Sampled:
    """The members of a population, of whom only those in a cohort are looked at."""

    population: Population
    data: Loaded

    def cohort(self, plan: Plan, number: int) -> tuple[Member, ...]:
        """The cohort of a round: the one that would be drawn from a list of all."""
        places = sample_places(plan, len(self.population), number)
        names = (self.population.name(place) for place in places)
        return tuple(Member(name, protected(plan, self.data[name])) for name in names)


@dataclass(frozen=True)
class VirtualWorld(World):
    """The world of a population. Its roster names the coordinator alone, who plays all sites."""

    population: Population | None = None

    @property
    def members(self) -> Sampled:  # type: ignore[override]
        """Those of a cohort when they are asked for."""
        assert isinstance(self.training, Loaded)  # noqa: S101
        assert self.population is not None  # noqa: S101
        return Sampled(self.population, self.training)

    @property
    def simulated(self) -> Sequence[str]:
        """All of them."""
        assert self.population is not None  # noqa: S101
        return Names(self.population)

    @property
    def listed(self) -> tuple[str, ...]:
        """Nobody."""
        return ()

    @property
    def size(self) -> int:
        """How many sites there are."""
        return len(self.training)

    @cached_property
    def roster(self) -> SignedRoster:
        """The coordinator's key, signed by a consortium that is made for the occasion."""
        named = public_identity(self.coordinator)
        return SignedRoster.by(Roster(1, (), coordinator=named), [self.consortium])

    @property
    def outcome(self) -> Outcome:
        """What is predicted: where nobody says so, as many classes as the labels tell apart."""
        if self.task.outcome is not None:
            return self.task.outcome
        return Classes(1 + int(max(self.labels().max(), self.held_out[HELD_OUT].labels.max())))

    def labels(self) -> Tensor:
        """Labels of the first sites, for class frequencies."""
        names = self.simulated[: min(LABELS, len(self.training))]
        return torch.cat([self.training[name].labels for name in names])


def world_of(plan: Plan, population: Population, seed: bytes) -> VirtualWorld:
    """The world of a population; refuses what can be refused before anything is charged."""
    if plan.privacy.unit == "client":
        check_delta(plan, len(population))
    held_out = population.held_out()
    if len(held_out) == 0:
        raise DataError("no records are held out", hint="have held_out() give some")
    sample_places(plan, len(population), 1)
    return VirtualWorld(
        plan,
        build_task(plan),
        training=Loaded(plan, population),
        held_out={HELD_OUT: held_out},
        rules={},
        identities={},
        consortium=Ed25519PrivateKey.generate(),
        coordinator=identity(seed, ""),
        seed=seed,
        population=population,
    )
