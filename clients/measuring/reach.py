"""How far one record, patient or site moves what is sent, by the plan's own model, loss and route: exactly.

A contribution is made twice from the same secret stream, with the canary and without. Batch, noise and coins are
the same in both, so the difference is what the canary did and nothing else. It may be as long as the clipping norm,
and what the grid rounds; not longer, whatever the canary holds. Such streams are made here and thrown away: with
them nothing is sent, and no record of a site is near.

Canaries are the plan's mock records: as they are, a thousand times as large, and with an infinite feature, each
alone and beside others.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clients.measuring.playing import RUN_BYTES, Floats, Tell, Watched, floats_of, members_of, watching
from clients.rehearsing.records import made_records
from clients.training.local import poisson_rows
from clients.training.work import Trainer, contribution
from federation.errors import NoMock
from federation.kinds.adaptive import AdaptiveUpdate
from federation.kinds.updates import NoisedSteps
from federation.model.params import initial_params
from federation.model.task import Dataset, Task, build_task, is_built_in, weighed
from federation.plan.plan import Plan
from federation.round.sent import first_norm, joined
from federation.round.terms import Terms
from privacy.mechanism.encoding import EncodingOverflow
from privacy.mechanism.noise import Stream

LARGE = 1000.0
_MOCK, _BESIDE, _CANARIES = 40, 8, 2
_KEYS = 20_000  # are tried, until one draws the canary
_SITE = 200  # records of a site that is the canary itself
_DECLARED = 10_000  # so that no ball around a whole batch shortens what one record does
_KEY_BYTES = 32


@dataclass(frozen=True)
class Moved:
    """The farthest that a canary moved a contribution, and what of that the grid may have rounded."""

    farthest: float
    rounding: float


def reach(
    plan: Plan,
    site: str,
    sites: int,
    tell: Tell = lambda _done, _total: None,
    encoders: tuple[Path, ...] = (),
) -> Moved | None:
    """How far canaries move a contribution; None where the plan's task makes no mock records."""
    task, whole_site = build_task(plan), plan.privacy.unit == "client"
    try:
        mock = _heaviest_last(task, made_records(plan, task, site, _SITE if whole_site else _MOCK, encoders))
    except NoMock:
        return None
    params = initial_params(task.model, plan.federation.seed)
    members = members_of(site, sites, _SITE if whole_site else _DECLARED)
    terms = Terms(plan, os.urandom(RUN_BYTES), 1, 1, members, len(params)).of(site)
    cases, farthest = list(_cases(plan, task, mock)), 0.0
    for number, (data, without) in enumerate(cases):
        tell(number, len(cases))
        farthest = max(farthest, _moved(terms, site, task, params, data, without))
    tell(len(cases), len(cases))
    return Moved(farthest, math.sqrt(terms.dimension + plan.kept) * terms.kind.mechanism(terms.parties).step)


def _heaviest_last(task: Task, mock: Dataset) -> Dataset:
    """The records in another order: canaries are of a class that counts in full."""
    weights = weighed(mock.labels, task.class_weights, torch.zeros((), dtype=torch.float64))
    return mock.at(torch.argsort(weights, stable=True))


def _cases(plan: Plan, task: Task, mock: Dataset) -> Iterator[tuple[Dataset, int]]:
    """Data whose last unit is the canary, and how many of their rows are without it."""
    if plan.privacy.unit == "client":
        yield from ((data, 0) for data in _made(mock))
        return
    nobody, others = mock.at(torch.arange(0)), mock.at(torch.arange(_BESIDE))
    chance = not is_built_in(task)  # in a model it differs by who is beside
    for canaries in _made(mock.at(torch.arange(len(mock) - _CANARIES, len(mock)))):
        alone = [canaries.at(torch.tensor([row])) for row in range(len(canaries))]
        for unit in alone if plan.privacy.unit == "record" else [canaries]:
            for beside in (nobody,) if chance else (nobody, others):
                yield _joined(beside, unit), len(beside)


def _made(few: Dataset) -> Iterator[Dataset]:
    yield few
    if few.features.is_floating_point():
        yield replace(few, features=few.features * LARGE)
        spoilt = few.features.clone()
        spoilt.flatten(1)[:, 0] = math.inf
        yield replace(few, features=spoilt)


def _joined(beside: Dataset, unit: Dataset) -> Dataset:
    """One after the other; the unit is a patient of its own, as is each record beside it."""
    owners = torch.cat([torch.arange(len(beside)), torch.full((len(unit),), len(beside))])
    return Dataset(
        torch.cat([beside.features, unit.features]), torch.cat([beside.labels, unit.labels]), owners
    )


def _moved(terms: Terms, site: str, task: Task, params: Tensor, data: Dataset, without: int) -> float:
    """How far the last unit of the data moves the contribution, where it is drawn; 0 if it hardly ever is."""
    key = _drawing(terms, data)
    if key is None:
        return 0.0
    few = data.at(torch.arange(without))
    with_it, without_it = (_contributed(terms, site, task, params, part, key) for part in (data, few))
    moved = with_it - without_it
    if isinstance(
        terms.kind, AdaptiveUpdate
    ):  # a site that is not there sends no bit, and one without data does
        norm = terms.kind.mechanism(terms.parties).clipping_norm
        moved[-1] += norm * terms.kind.shares(terms.parties)[1] * terms.kind.weight(terms.parties, site)
    return float(np.linalg.norm(moved))


def _drawing(terms: Terms, data: Dataset) -> bytes | None:
    """A key under which the last unit is in the first batch."""
    drawn = data if terms.kind.draws_patients else Dataset(data.features, data.labels)
    if terms.plan.privacy.unit == "client":
        return os.urandom(_KEY_BYTES)
    for _ in range(_KEYS):
        key = os.urandom(_KEY_BYTES)
        rows = poisson_rows(drawn, terms.plan.training.sample_rate, Stream(key).derive("batches"))
        if len(rows) and int(rows[-1]) == len(data) - 1:
            return key
    return None


def _contributed(terms: Terms, site: str, task: Task, params: Tensor, data: Dataset, key: bytes) -> Floats:
    """What is sent, or the first noised step, as numbers."""
    watched: list[Watched] = []
    steps = isinstance(terms.kind, NoisedSteps)
    with suppress(EncodingOverflow) if steps else nullcontext():  # a step was noised before the sum ran over
        trainer = Trainer(task, data, lambda _: Stream(key))
        sent = joined(params, first_norm(terms.plan.privacy))
        vector = contribution(terms, site, sent, trainer, b"", watching(watched))
    return watched[0].steps[0].numpy() if steps else floats_of(terms, vector)
