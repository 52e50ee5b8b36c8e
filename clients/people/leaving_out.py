"""Leaves out the records of people who withdrew, in every round anew: of training and of what is held out.

A record is left out by whose it is and by nothing else, so nobody else's moves: neither from training to the part
that is held out nor to another patient. What stays may be nothing: then a round is noise alone, of the same form.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from clients.journal.journal import Journal
from clients.journal.layers import Layers
from clients.people.listed import Withdrawals, begun, list_path, load_list
from clients.policy import SiteFile
from clients.training.local import made_up
from clients.training.work import Trainer
from federation.model.task import Dataset
from federation.plan.plan import Plan
from federation.round.terms import Terms
from privacy.errors import PolicyViolation, RecordsUnavailable
from privacy.ledger import withdrawals as said
from privacy.ledger.chain import Entry
from privacy.wire import digest

_MANY = 1000  # people who withdraw at once, for whom the timing padding has room


@dataclass
class People:
    """The list of a pool, read anew whenever it is asked for, and what the ledger said of it last."""

    path: Path
    last: Callable[[], Entry | None]
    _done: tuple[Trainer, Withdrawals] | None = field(default=None, init=False, repr=False)
    _marked_by: Withdrawals | None = field(default=None, init=False, repr=False)
    _told: int = field(
        default=0, init=False, repr=False
    )  # lines of the list that the ledger was told of last

    def now(self) -> Withdrawals:
        """The list as it stands. RecordsUnavailable if it cannot be read, or is an older copy, or another list.

        Under another secret nobody's marks are those of the records that were read: all would be back, unnoticed.
        """
        known, by = load_list(self.path), self._marked_by
        self._told = known.require_newest(self.last(), self.path, self._told)
        if by is not None and (by.secret, by.column) != (known.secret, known.column):
            raise RecordsUnavailable(
                f"{self.path}: this is another list of people who withdrew than when the data were read",
                hint="start the site again, with the list that counts",
            )
        return known

    def taken(self, trainer: Trainer) -> Trainer:
        """The trainer as it was read, whose records can be told apart by the list, without those on it."""
        known, held_out = self.now(), trainer.held_out
        self._marked_by = known
        held_out = None if held_out is None else marked(held_out, known)
        return present(replace(trainer, data=marked(trainer.data, known), held_out=held_out), known)

    def present(self, trainer: Trainer) -> tuple[Trainer, Callable[[bytes], str]]:
        """The trainer of a round without those on the list now, and what the ledger is told of the list.

        For good: whoever consents anew is back when the site is started. A list that is as it was takes no time.
        """
        known = self.now()
        if self._done is None or self._done[0] is not trainer or self._done[1] != known:
            self._done = present(trainer, known), known
        self._told = len(known.lines)
        return self._done[0], known.commitment


def layers_of(folder: Path | None, terms: Terms, people: People | None) -> Layers | None:
    """The layers that a site keeps in the run of these terms, for the list as it stands; None for none."""
    if folder is None or not terms.plan.kept or terms.is_evaluation:
        return None
    return _layers(folder, terms.plan, terms.account[0], None if people is None else people.now())


def ended_layers(folder: Path | None, plan: Plan, run: str, known: Withdrawals | None) -> Tensor | None:
    """What the last round of a run left of them; None for nothing."""
    return None if folder is None or not plan.kept else _layers(folder, plan, run, known).ended()


def _layers(folder: Path, plan: Plan, run: str, known: Withdrawals | None) -> Layers:
    listed = "" if known is None else _listed(known)
    return Layers(folder, run, noised=is_noised(plan), people=listed)


def is_noised(plan: Plan) -> bool:
    """Whether the layers that sites keep are made of noised steps alone, each of which is charged."""
    return plan.privacy.noise == "site" and plan.privacy.unit != "client"


def _listed(known: Withdrawals) -> str:
    """What stands for the list in a file that nobody else may read."""
    return digest("federation/layers/people/1", *known.marks()).hex()


def seconds_at_most(like: Dataset, size: int) -> float:
    """Seconds that it takes to leave out many of `size` records, a public number, at once: on made-up ones.

    A round in which people are left out for the first time must not be told from others by the clock.
    """
    if like.persons is None:
        return 0.0
    made = made_up(like, size)
    made, gone, seconds = replace(made, persons=torch.arange(size)), torch.arange(min(size, _MANY)), 0.0
    for _ in range(2):
        start = time.perf_counter()
        _at(made, ~torch.isin(made.persons, gone))  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
    return seconds


def people_of(rules: SiteFile, journal: Journal) -> People:
    """The list of a site's pool, made if its ledger says nothing of one: before any data are read."""
    path, last = list_path(rules), journal.last_withdrawn
    begun(path, rules.data.person, last())
    return People(path, last)


def marked(data: Dataset, known: Withdrawals) -> Dataset:
    """The same records, whose `persons` are the list's marks, cut to 8 bytes, instead of hashes of ids."""
    if data.persons is None:
        return data
    ids, places = torch.unique(data.persons, return_inverse=True)
    numbers = [_number(said.mark(known.secret, _octets(person))) for person in ids.tolist()]
    return replace(data, persons=torch.tensor(numbers, dtype=torch.int64)[places])


def without(data: Dataset, known: Withdrawals) -> Dataset:
    """Records as they were read, without those of people on the list."""
    here = marked(data, known).persons
    return data if here is None else _at(data, ~torch.isin(here, _gone(known)))


def present(trainer: Trainer, known: Withdrawals) -> Trainer:
    """The trainer without the records of those on the list. PolicyViolation if nobody says whose they are."""
    gone = _gone(known)
    data, held_out = _present(trainer.data, gone), trainer.held_out
    held_out = None if held_out is None else _present(held_out, gone)
    if data is trainer.data and held_out is trainer.held_out:
        return trainer
    return replace(trainer, data=data, held_out=held_out)


def _present(data: Dataset, gone: Tensor) -> Dataset:
    if data.persons is None:
        if len(gone):
            raise PolicyViolation(
                "people withdrew, and nothing says whose the records are that this process has read",
                hint="stop the site, and name the column that does: data.person in site.toml",
            )
        return data
    return _at(data, ~torch.isin(data.persons, gone))


def _at(data: Dataset, stays: Tensor) -> Dataset:
    return data if bool(stays.all()) else data.at(stays).renumbered()


def _gone(known: Withdrawals) -> Tensor:
    return torch.tensor([_number(mark) for mark in known.marks()], dtype=torch.int64)


def _octets(person: int) -> bytes:
    return person.to_bytes(said.PERSON_BYTES, "big", signed=True)


def _number(mark: bytes) -> int:
    return int.from_bytes(mark[: said.PERSON_BYTES], "big", signed=True)
