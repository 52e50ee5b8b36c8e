"""The sites of a folder that a process of the cluster has read: kept from round to round, up to `HELD` bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final

from clients.data.folders import SiteFiles
from clients.training.isolation import Tally
from clients.training.work import Trainer, site_stream
from federation.errors import DataError
from federation.model.task import Dataset, Task
from federation.plan.plan import Plan
from simulations.ray.slices import Work, seen_at
from simulations.world import records_of

HELD: Final = 1 << 30
"""Bytes of records that a process keeps."""


@dataclass(frozen=True)
class _Read:
    """A site's trainer, and the fingerprint of what was read."""

    trainer: Trainer
    seen: str

    @cached_property
    def bytes(self) -> int:
        """What its records take."""
        parts = (self.trainer.data, self.trainer.held_out)
        return sum(each.features.nbytes + each.labels.nbytes for each in parts if each is not None)


@dataclass
class Shelves(Mapping[str, Trainer]):
    """By name, the trainer of each site in `files`, read when it is asked for."""

    work: Work
    plan: Plan
    task: Task
    files: Mapping[str, SiteFiles]
    tally: Tally
    held: OrderedDict[str, _Read] = field(default_factory=OrderedDict)
    bytes: int = 0

    def seen(self, names: Sequence[str]) -> list[str]:
        """The fingerprint of each. DataError where there is no such site."""
        return [self._read(name).seen for name in names]

    def __getitem__(self, name: str) -> Trainer:
        return self._read(name).trainer

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def _read(self, name: str) -> _Read:
        if name not in self.held:
            if name not in self.files:
                hint = "have every node see the same files at the same path"
                raise DataError(f"{self.work.sites}: a worker finds no site {name}", hint=hint)
            data, held_out = records_of(self.plan, self.task, self.files[name])
            stream = partial(site_stream, self.plan, name)
            trainer = Trainer(self.task, data, stream, held_out, self.tally)
            found = self.held[name] = _Read(trainer, seen_at(self.work.key, data, held_out))
            self.bytes += found.bytes
            self._forget()
        self.held.move_to_end(name)
        return self.held[name]

    def _forget(self) -> None:
        """Let go of what was not asked for longest; never of the last."""
        while self.bytes > HELD and len(self.held) > 1:
            self.bytes -= self.held.popitem(last=False)[1].bytes


@dataclass(frozen=True)
class Training(Mapping[str, Dataset]):
    """The same, of which only the records to train on are wanted."""

    shelves: Shelves

    def __getitem__(self, name: str) -> Dataset:
        return self.shelves[name].data

    def __iter__(self) -> Iterator[str]:
        return iter(self.shelves)

    def __len__(self) -> int:
        return len(self.shelves)
