"""A user's own code before the first round: tried on made-up records, then run on each real one.

Trying comes first, and may end the run: it reads nothing but the shapes of the data, and nothing is charged. After
it, no record may end the run. Each is run alone at the public params that round 1 starts from. Those on which the
code raises are left out of the whole run, so that in a round there is little left to be found, and little time goes
by that could be seen from outside.

This keeps the definition: what a record contributes still follows from the record and public params alone. It is
zero if the code raises on it at the first params or at the present ones.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from torch import Tensor

from clients.training.dpsgd import chosen_route
from clients.training.evaluating.counted import counts
from clients.training.evaluating.held_out import figures
from clients.training.frozen import Guard, fitting, prepared
from clients.training.isolation import Tally, apart, listening, undisturbed
from clients.training.local import made_up
from clients.training.per_example import losses_of
from clients.training.places import HERE, Place, require_same
from clients.training.screening.moving import require_moving
from clients.training.trial import MADE_UP, TRIED, Trial, blaming, require_fit
from clients.training.work import Trainer
from federation.errors import TaskError
from federation.kinds.base import Parties
from federation.model.base import shared, trained
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, Task, is_built_in, whole
from federation.plan.plan import Plan

_AT_ONCE = 256
_TIMED = 4  # made-up records, to tell how long real ones will take


def try_out(task: Task, like: Dataset, plan: Plan, size: int, place: Place = HERE) -> None:
    """TaskError unless the task's code does right by made-up records of the shape of `like`, for a site of `size`.

    Built-in models on built-in losses are not tried: they cannot raise. A device is: it has to find the gradients
    that the processor finds. Layers that sites keep are trained as well as those that travel.
    """
    task = whole(task)
    if place.apart:
        _require_same(task, like, plan, place)
    if is_built_in(task):
        return
    with torch.random.fork_rng(devices=[]):
        largest, dtype = plan.kind.largest_batch(Parties({"": size}, 1, 1)), dtype_of(plan)
        require_fit(task, like, largest, dtype)
        _require_moving(task, like, dtype)
        if dtype == torch.float64:
            _require_route(task, like, plan, size)
        if plan.figures is not None:
            _require_figures(task, like, plan)


def _require_moving(task: Task, like: Dataset, dtype: torch.dtype) -> None:
    with blaming(task.name, TRIED), undisturbed():
        require_moving(Trial.of(task, like, dtype), task.name)


def _require_same(task: Task, like: Dataset, plan: Plan, place: Place) -> None:
    with torch.random.fork_rng(devices=[]):
        trial, dtype = Trial.of(task, like, dtype_of(plan)), dtype_of(plan)
        features, labels = trial.records(TRIED, 0)
        features = features.to(dtype) if features.is_floating_point() else features
        require_same(trial.model.to(dtype), task.loss, features, labels, place)  # also of a large base


def _require_route(task: Task, like: Dataset, plan: Plan, size: int) -> None:
    trial, expected = Trial.of(task, like, torch.float64), plan.training.sample_rate * size
    features, labels = trial.records(0, 0)
    chosen_route(trial.model, task.loss, features, labels, expected, whole_patients=plan.kind.draws_patients)


def _require_figures(task: Task, like: Dataset, plan: Plan) -> None:
    tally, few = Tally(), replace(made_up(like, 2), patients=None)
    blocks = None if plan.figures is None else plan.figures.blocks
    if blocks is None:
        figures(prepared(task.model(), torch.float64), task, few, whole_patients=False, tally=tally)
    else:
        mine = torch.arange(2)  # each its own patient
        counts(prepared(task.model(), torch.float64), task, plan, blocks, replace(few, patients=mine), tally)
    if tally.raised:
        message = f"{task.name}: made-up records cannot be evaluated: not one output per class, or an error"
        raise TaskError(message, hint=MADE_UP)


def screened(trainer: Trainer, plan: Plan, *, each_alone: bool) -> Trainer:
    """The trainer without the records on which its code raises at the first params; its tally counts them."""
    data = usable(trainer.task, trainer.data, plan, trainer.tally, each_alone=each_alone)
    return trainer if data is trainer.data else replace(trainer, data=data)


def usable(task: Task, data: Dataset, plan: Plan, tally: Tally, *, each_alone: bool) -> Dataset:
    """The records on which the task's code does not raise at the first params; `tally` counts the others.

    With `each_alone` every record is run by itself, as it is defined; or in batches, if that would take more than
    half of the plan's deadline, or without `each_alone`. How long it would take is measured on made-up records.
    """
    if is_built_in(task) or len(data) == 0:
        return data
    run = _Run(whole(task), plan, data)
    with listening(), torch.random.fork_rng(devices=[]):
        each_alone = each_alone and run.seconds_each() * len(data) < plan.cohort.deadline_seconds / 2
        parts = list(apart(run, len(data), tally, 1 if each_alone else _AT_ONCE))
    kept = torch.cat([torch.zeros(0, dtype=torch.int64), *parts])
    if len(kept) == len(data):
        return data
    return data.at(kept)


def said_of(site: str, raised: int) -> str:
    """The line of a site's own log: no text, no kind of error, and no place."""
    records = "1 record" if raised == 1 else f"{raised} records"
    return f"{site}: left out {records} on which the task's code raised"


class _Run:
    """The task's code on some of the data, at the params that round 1 starts from, in a fresh copy of the model."""

    def __init__(self, task: Task, plan: Plan, data: Dataset) -> None:
        self._task, self._data = task, data
        model = task.model()
        Layout.of(model).load(model, initial_params(task.model, plan.federation.seed))
        self._model = prepared(model, dtype_of(plan))
        self._guard = Guard(self._model)

    def __call__(self, places: Tensor) -> Tensor:
        self._gradients(self._data.features[places], self._data.labels[places])
        return places

    def seconds_each(self) -> float:
        made = made_up(self._data, _TIMED)
        start = time.perf_counter()
        for place in range(_TIMED):
            self._gradients(made.features[place : place + 1], made.labels[place : place + 1])
        return (time.perf_counter() - start) / _TIMED

    def _gradients(self, features: Tensor, labels: Tensor) -> None:
        # The same dropout for every record: what it does is the record's own.
        torch.default_generator.manual_seed(0)
        # What is noticed here leaves out one record; what is noticed in a round ends it.
        with self._guard.unmoved(to_the_byte=True):
            fresh = shared(self._model)
            losses = losses_of(fresh, self._task.loss, fitting(features, fresh), labels)
            torch.autograd.grad(losses.sum(), list(trained(fresh).values()), materialize_grads=True)


def dtype_of(plan: Plan) -> torch.dtype:
    """What a round computes in: see `clients.training.dpsgd`."""
    return torch.float64 if plan.is_private and plan.privacy.unit != "client" else torch.float32
