"""Who may have been in the data: every unit of a folder of sites, and which of them a run trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from clients.data.load import protected
from clients.data.people import usual
from federation.errors import DataError
from federation.model.outcomes import strata
from federation.model.task import Dataset
from federation.plan.plan import Plan
from federation.round.messages import Member
from privacy.accounting.units import Unit
from privacy.mechanism.noise import Stream
from simulations.world import World

LEAST = 20
"""Units of a site of which coins are tossed; a smaller site trains on all it has, in every model."""
_FEWEST = 30  # units in all, on either side of the run
Bits = NDArray[np.bool_]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class People:
    """`units` are records, or patients where the plan protects them; `unit_of` numbers those of all rows.

    `records`: all that a site has, trained on or held out. `members`: on whom the run trained. `tossed`: of whom a
    coin says whether another model is trained on them. `stratum`: within one of them, the run's holdout is chance.
    """

    unit: Unit
    records: Mapping[str, Dataset]
    unit_of: Places
    members: Bits
    tossed: Bits
    stratum: Places
    sites: int  # at how many one unit is, at most

    @property
    def size(self) -> int:
        """How many units there are."""
        return len(self.members)

    @cached_property
    def everything(self) -> Dataset:
        """All rows of all sites, in the order of `unit_of`."""
        parts = list(self.records.values())
        return Dataset(
            torch.cat([each.features for each in parts]), torch.cat([each.labels for each in parts])
        )

    def coins(self, secret: Stream) -> Bits:
        """A fair coin for each unit that one is tossed of; the others are in."""
        heads = (secret.words(self.size) >> np.uint64(63)).astype(bool)
        return heads | ~self.tossed

    def half(self, bits: Bits) -> dict[str, Dataset]:
        """What each site has of those whose bit is set."""
        found, start = {}, 0
        for name, data in self.records.items():
            chosen = bits[self.unit_of[start : start + len(data)]]
            found[name] = data.at(torch.from_numpy(chosen)).renumbered()
            start += len(data)
        return found

    def declared(self, plan: Plan) -> tuple[Member, ...]:
        """Sites that declare half of what they have. It is public, so it must not depend on the coins."""
        sizes, start = {}, 0
        for name, data in self.records.items():
            units = np.unique(self.unit_of[start : start + len(data)])
            share = 1 - self.tossed[units].mean() / 2
            sizes[name] = max(1, round(protected(plan, data) * share))
            start += len(data)
        return tuple(Member(name, sizes[name]) for name in sorted(sizes))

    def mean_of(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each unit, from a number of each row."""
        sums = np.bincount(self.unit_of, rows, minlength=self.size)
        return np.asarray(sums / np.bincount(self.unit_of, minlength=self.size))


def people_of(world: World) -> People:
    """The units of a world, in which nobody withdrew. DataError where too few were trained on, or left out."""
    by_patient = world.plan.privacy.unit == "patient"
    unit: Unit = "patient" if by_patient else "record"
    records, trained = {}, []
    for name in sorted(world.training):
        train, held = world.training[name], world.held_out.get(name)
        records[name] = _together(train, held)
        trained.append(np.arange(len(records[name])) < len(train))
    unit_of = _numbered(list(records.values()), by_patient)
    in_training, places = np.concatenate(trained), _site_of_rows(records.values())
    count = int(unit_of.max()) + 1
    members = np.bincount(unit_of, in_training, minlength=count) > 0
    _require_enough(int(members.sum()), int((~members).sum()), unit)
    at = np.unique(np.stack([unit_of, places]), axis=1)
    home = np.zeros(count, dtype=np.int64)
    home[at[0][::-1]] = at[1][::-1]
    large = np.bincount(home, minlength=len(records)) >= LEAST
    alike = torch.cat([strata(world.task.outcome, data.labels) for data in records.values()])
    kinds = usual(unit_of, alike.numpy())
    stratum = home * (int(kinds.max()) + 1) + kinds
    most = int(np.bincount(at[0], minlength=count).max())
    return People(unit, records, unit_of, members, large[home], stratum, most)


def _require_enough(members: int, others: int, unit: Unit) -> None:
    if min(members, others) < _FEWEST:
        told = f"{members} {unit}s were trained on and {others} held out: an attack would show nothing"
        raise DataError(told, hint=f"simulate with at least {_FEWEST} of each: see evaluation.holdout")


def _together(train: Dataset, held: Dataset | None) -> Dataset:
    """Both parts of a site. A patient is one person in both where ids say so; else nobody is in both."""
    if held is None:
        return train
    features, labels = (
        torch.cat([getattr(train, name), getattr(held, name)]) for name in ("features", "labels")
    )
    if train.patients is None or held.patients is None:
        return Dataset(features, labels)
    if train.ids is not None and held.ids is not None:
        ids = torch.cat([train.ids, held.ids])
        return Dataset(features, labels, torch.unique(ids, return_inverse=True)[1], ids)
    after = held.patients + int(train.patients.max()) + 1
    return Dataset(features, labels, torch.cat([train.patients, after]))


def _numbered(parts: Sequence[Dataset], by_patient: bool) -> Places:
    """The unit of each row: a person who is known by id is one at all sites."""
    if not by_patient:
        return np.arange(sum(len(each) for each in parts))
    keys = []
    for site, data in enumerate(parts):
        if data.patients is None:
            raise DataError("the records do not say whose each of them is", hint="the plan protects patients")
        by_id = data.ids is not None
        own = data.ids if data.ids is not None else data.patients
        keys.append(np.stack([np.full(len(data), -1 if by_id else site), own.numpy()]))
    return np.asarray(np.unique(np.concatenate(keys, axis=1), axis=1, return_inverse=True)[1]).reshape(-1)


def _site_of_rows(parts: object) -> Places:
    sizes = [len(each) for each in parts]  # type: ignore[attr-defined]
    return np.repeat(np.arange(len(sizes)), sizes)
