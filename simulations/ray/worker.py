"""A process of the cluster: it reads the records of its slices where the message says, trains them, and adds up.

Flower's backend calls `app` with one message after the other. What a process has read it keeps from round to round,
up to `HELD` bytes of records.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Final

from federation.quiet import quiet_flower

quiet_flower()  # Flower reads some of its switches when it is imported

import torch  # noqa: E402
from flwr.app import Context, Message  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402

from clients.data.folders import SiteFiles, find_sites  # noqa: E402
from clients.training.work import Trainer, site_stream  # noqa: E402
from federation.errors import CheckpointError, DataError, FederationError  # noqa: E402
from federation.model.task import Task, build_task  # noqa: E402
from federation.plan.plan import Plan, parse  # noqa: E402
from federation.plan.tabular import TabularTask  # noqa: E402
from federation.round.flower import from_record, to_record  # noqa: E402
from federation.round.terms import Terms  # noqa: E402
from privacy.errors import PrivacyError  # noqa: E402
from privacy.mechanism.encoding import RingVector  # noqa: E402
from simulations.ray.slices import Slice, Work, refused, seen_at, seen_of, summed  # noqa: E402
from simulations.sums.adding import Adding, one_by_one  # noqa: E402
from simulations.world import records_of  # noqa: E402

HELD: Final = 1 << 30
"""Bytes of records that a process keeps."""

app = ClientApp()


def load_app() -> ClientApp:
    """What Flower's backend asks for: only the name of this function travels."""
    return app


@app.query()
def train(message: Message, context: Context) -> Message:
    """The partial sum of one slice, or an error of ours."""
    del context
    return Message(to_record(answer(from_record(message.content))), reply_to=message)


def answer(data: bytes) -> bytes:
    """The same in bytes. Other errors than ours are bugs, and are raised."""
    torch.set_num_threads(1)
    try:
        part = Slice.from_bytes(data)
        return summed(_room(part.work).summed(part))
    except (FederationError, PrivacyError) as error:
        return refused(error)


@dataclass
class _Room:
    """A run's plan, and the sites that this process has read, the latest last."""

    work: Work
    plan: Plan
    task: Task
    files: Mapping[str, SiteFiles]
    held: OrderedDict[str, Read] = field(default_factory=OrderedDict)
    last: Terms | None = None

    @classmethod
    def of(cls, work: Work) -> _Room:
        """Nothing is read yet but the plan, and the names of the folder."""
        plan = parse(work.plan)
        found = find_sites(Path(work.sites), any_format=not isinstance(plan.task, TabularTask))
        return cls(work, plan, build_task(plan), {entry.name: entry for entry in found.sites})

    def summed(self, part: Slice) -> RingVector:
        """The partial sum of a slice. CheckpointError if its records are not those that the run began with."""
        read = {name: self._read(name) for name in part.names}
        self._forget(len(read))
        if seen_of(self.work.key, self.plan, [one.seen for one in read.values()]) != part.seen:
            who = f"{part.names[0]} to {part.names[-1]}"
            message = f"a worker finds other records or code than the run began with, at some site from {who}"
            raise CheckpointError(message, hint="have every node see the same files at the same path")
        self.last = terms = part.terms(self.plan, self.last)
        trainers = {name: one.trainer for name, one in read.items()}
        return Adding(trainers, {}, one_by_one(trainers)).simulated(terms, part.names, part.params)

    def _read(self, name: str) -> Read:
        if name not in self.held:
            if name not in self.files:
                hint = "have every node see the same files at the same path"
                raise DataError(f"{self.work.sites}: a worker finds no site {name}", hint=hint)
            data, held_out = records_of(self.plan, self.task, self.files[name])
            stream = partial(site_stream, self.plan, name)
            trainer = Trainer(self.task, data, stream, held_out)
            self.held[name] = Read(trainer, seen_at(self.work.key, data, held_out))
        self.held.move_to_end(name)
        return self.held[name]

    def _forget(self, needed: int) -> None:
        """Keep what this slice needs, and as much beside as there is room for."""
        while len(self.held) > needed and sum(one.bytes for one in self.held.values()) > HELD:
            self.held.popitem(last=False)


@dataclass(frozen=True)
class Read:
    """A site's trainer, and the fingerprint of what was read."""

    trainer: Trainer
    seen: str

    @cached_property
    def bytes(self) -> int:
        """What its records take."""
        parts = (self.trainer.data, self.trainer.held_out)
        return sum(each.features.nbytes + each.labels.nbytes for each in parts if each is not None)


@lru_cache(maxsize=1)
def _room(work: Work) -> _Room:
    """The room of the run that this process works for."""
    return _Room.of(work)
