"""A process of the cluster: it reads the records of its slices where the message says, trains them, and adds up.

Flower's backend calls `app` with one message after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from federation.quiet import quiet_flower

quiet_flower()  # Flower reads some of its switches when it is imported

import torch  # noqa: E402
from flwr.app import Context, Message  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402

from clients.data.folders import find_sites  # noqa: E402
from clients.training.isolation import Tally  # noqa: E402
from federation.errors import CheckpointError, FederationError  # noqa: E402
from federation.model.task import build_task  # noqa: E402
from federation.plan.plan import Plan, parse  # noqa: E402
from federation.plan.tabular import TabularTask  # noqa: E402
from federation.round.flower import from_record, to_record  # noqa: E402
from federation.round.terms import Terms  # noqa: E402
from privacy.errors import PrivacyError  # noqa: E402
from privacy.mechanism.encoding import RingVector  # noqa: E402
from simulations.cohort.program import CohortProgram  # noqa: E402
from simulations.ray.shelves import Shelves, Training  # noqa: E402
from simulations.ray.slices import Slice, Work, refused, seen_of, summed  # noqa: E402
from simulations.sums.adding import Adding, all_at_once  # noqa: E402

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
    """A run's plan, its program, and the sites that this process has read."""

    work: Work
    plan: Plan
    shelves: Shelves
    adding: Adding
    last: Terms | None = None

    @classmethod
    def of(cls, work: Work) -> _Room:
        """Nothing is read yet but the plan, and the names of the folder."""
        plan = parse(work.plan)
        task, tally = build_task(plan), Tally()
        found = find_sites(Path(work.sites), any_format=not isinstance(plan.task, TabularTask))
        shelves = Shelves(work, plan, task, {entry.name: entry for entry in found.sites}, tally)
        data = Training(shelves)
        program = CohortProgram(plan, task, data, device="cpu", tally=tally, alone=True)
        works = all_at_once(program, shelves)
        return cls(work, plan, shelves, Adding(works, {}, tally))

    def summed(self, part: Slice) -> RingVector:
        """The partial sum of a slice. CheckpointError if its records are not those that the run began with."""
        seen = self.shelves.seen(part.names)
        if seen_of(self.work.key, self.plan, seen) != part.seen:
            who = f"{part.names[0]} to {part.names[-1]}"
            message = f"a worker finds other records or code than the run began with, at some site from {who}"
            raise CheckpointError(message, hint="have every node see the same files at the same path")
        self.last = terms = part.terms(self.plan, self.last)
        return self.adding.simulated(terms, part.names, part.params, part.lost)


@lru_cache(maxsize=1)
def _room(work: Work) -> _Room:
    """The room of the run that this process works for."""
    return _Room.of(work)
