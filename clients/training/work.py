"""A site's work on its data in one round: it trains, as the plan's kind of release asks.

Each result goes to `Kind.contribute`, which puts it on the grid and adds noise. No result leaves a site from here.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor, nn

from clients.training.dpsgd import clipped_gradient
from clients.training.evaluating.counted import counts
from clients.training.evaluating.held_out import figures
from clients.training.frozen import Guard, fitting, prepared
from clients.training.isolation import FEW, Tally, coins, draws_apart, listening
from clients.training.local import Finish, Gradient, local_delta, made_up, plain_gradient, poisson_batch
from clients.training.own import Own
from clients.training.places import HERE, Place
from federation.errors import DataError
from federation.kinds.base import Work
from federation.model.base import Kept, require_base
from federation.model.own import Parts, begun_own
from federation.model.params import Layout
from federation.model.task import Dataset, Task, is_built_in, whole
from federation.plan.plan import Plan
from federation.round.parts import secrets_of, streams_of
from federation.round.sent import first_norm, joined, model_of, norm_of
from federation.round.terms import Terms
from privacy.mechanism.encoding import EncodingOverflow, RingVector
from privacy.mechanism.noise import Stream
from privacy.mechanism.repeatable import Repeatable, Repeatables
from privacy.secagg.keys import SECRET_BYTES
from privacy.wire import Writer, digest


@dataclass(frozen=True)
class Trainer:
    """A site's model and data, and the secret stream of each round."""

    task: Task
    data: Dataset
    stream: Callable[[int], Stream]  # round -> a stream never used before
    held_out: Dataset | None = None  # for a published evaluation
    tally: Tally = field(default_factory=Tally)  # of records on which the task's code raised
    place: Place = HERE  # where gradients are computed
    own: Own | None = field(default=None, repr=False)  # in one round, where layers never travel


def contribution(
    terms: Terms,
    site: str,
    params: Tensor,
    trainer: Trainer,
    excess: bytes = b"",
    around: Callable[[Work], Work] = lambda work: work,
) -> RingVector:
    """Train, clip, noise, encode. The result is private only as far as the plan's noise makes it so.

    `excess` is the secret of the parts of the noise that may be taken out again; without it, none can be. `around`
    looks on where made-up records are measured (`clients.measuring`); a site's own data pass nobody.
    """
    stream = trainer.stream(terms.round)
    work = around(SiteWork(terms, site, params, trainer, stream))
    parts = streams_of(terms, site, secrets_of(terms, site, excess)) if excess else ()
    with listening(), coins(stream):
        return terms.kind.contribute(terms.parties, site, work, stream, parts)


def fresh_excess(terms: Terms, entropy: Callable[[int], bytes] = os.urandom) -> bytes:
    """A new secret of the parts of a round's noise that may be taken out again; empty where none may."""
    return entropy(SECRET_BYTES) if terms.takes_out else b""


@dataclass(frozen=True)
class SiteWork:
    """One site in one round (`federation.kinds.base.Work`). Batches follow from the secret stream.

    `params` is what was sent: with the norm to clip to behind the params, where the plan has it move.
    `rows` are those of the batch of each step, where a simulation drew them from the stream before. Where layers
    never travel, all of the model is trained, and clipped and noised as one where records are; what is returned is
    the part that travels, and the trainer's `own` gets the rest.
    """

    terms: Terms
    site: str
    params: Tensor = field(repr=False)
    trainer: Trainer = field(repr=False)
    stream: Stream = field(repr=False)
    rows: Sequence[Tensor] | None = field(default=None, repr=False)

    @property
    def clipping_norm(self) -> float:
        """As it was sent, or as the plan says."""
        return norm_of(self.terms, self.params)

    def update(self) -> Tensor:
        """What plain training changed, in float32 as the model has it."""
        model = self._model(torch.float32)
        task = self.trainer.task
        given = self.trainer.tally, task.class_weights, self.trainer.place
        gradient = plain_gradient(model, task.loss, *given)
        return self._trained(model, self._population(), gradient, lambda total: total, wide=False)

    def noised_update(self, clipping_norm: float, noised: Finish) -> Tensor:
        """What DP-SGD steps changed, in float64: see `clients.training.dpsgd`."""
        model = self._model(torch.float64)
        with self._clipped(model, clipping_norm) as gradient:
            return self._trained(model, self._population(), _fitted(gradient, model), noised, wide=True)

    def clipped_gradients(self, clipping_norm: float) -> Tensor:
        """The sum over one Poisson batch, in float64."""
        model, data = self._model(torch.float64), self._population()
        if self.rows is None:
            batch = poisson_batch(data, self.terms.plan.training.sample_rate, self.stream.derive("batches"))
        else:
            batch = data.at(self.rows[0])
        with self._guarded(model), self._clipped(model, clipping_norm) as gradient:
            return _fitted(gradient, model)(batch.features, batch.labels, batch.patients)

    def figures(self) -> Tensor:
        """Right answers, wrong answers and loss, or what else is published, summed over held-out records."""
        plan = self.terms.plan
        trainer, wide = self.trainer, self._model(torch.float64)
        task, held_out, tally = trainer.task, trainer.held_out, trainer.tally
        with self._guarded(wide):
            if plan.figures is not None and (blocks := plan.figures.blocks) is not None:
                return counts(wide, task, plan, blocks, held_out, tally)
            by_patient, threshold = self.terms.kind.draws_patients, plan.evaluation.threshold
            return figures(wide, task, held_out, whole_patients=by_patient, tally=tally, threshold=threshold)

    def _clipped(self, model: nn.Module, clipping_norm: float) -> AbstractContextManager[Gradient]:
        task, tally, place = self.trainer.task, self.trainer.tally, self.trainer.place
        weights = task.class_weights
        return clipped_gradient(model, task.loss, clipping_norm, self._expected, tally, weights, place)

    def _trained(
        self, model: nn.Module, data: Dataset, gradient: Gradient, finish: Finish, *, wide: bool
    ) -> Tensor:
        training, size = self.terms.plan.training, self.terms.size(self.site)
        stream = self.stream.derive("batches") if self.rows is None else self.stream
        with self._guarded(model):
            given = model, data, training, size, stream, gradient, finish, self.rows
            delta = local_delta(*given, wide=wide, sent=model_of(self.terms, self.params))
        if self._parts is None:
            return delta
        travels, own = self._parts.parted(delta)
        if self.trainer.own is not None:
            self.trainer.own.move(own)
        return travels

    def _population(self) -> Dataset:
        return population(self.terms, self.trainer.data)

    @property
    def _expected(self) -> float:
        return self.terms.plan.training.sample_rate * self.terms.size(self.site)

    @cached_property
    def _parts(self) -> Parts | None:
        """What of the model travels; None if all does."""
        return Parts.of_factory(self.trainer.task.model) if self.terms.plan.kept else None

    def _model(self, dtype: torch.dtype) -> nn.Module:
        task, params = whole(self.trainer.task), model_of(self.terms, self.params)
        if self._parts is not None:
            own = self.trainer.own
            before = begun_own(self.trainer.task.model) if own is None else own.before
            params = self._parts.united(params, before)
        with draws_apart():  # a model's code may draw what params replace, or seed the generator
            model = task.model()
        if not isinstance(task.model, Kept):
            require_base(self.terms.plan, task.name, model)
        Layout.of(model).load(model, params)
        return prepared(model, dtype, apart=self.trainer.place.apart)

    @contextmanager
    def _guarded(self, model: nn.Module) -> Iterator[None]:
        """TaskError, and nothing leaves, if what ran within wrote into the model's base."""
        guard = Guard(model)
        yield
        guard.require_same(self.trainer.task.name)


def population(terms: Terms, data: Dataset) -> Dataset:
    """The data, with patients only if the plan draws and clips patients."""
    if not terms.kind.draws_patients:
        return Dataset(data.features, data.labels)
    if data.patients is None or data.patients.shape != data.labels.shape[:1]:
        raise DataError(
            "the plan protects patients, and the data do not say whose each record is",
            hint='name the column that does, patient = "...", or have the task\'s Dataset carry `patients`',
        )
    return data


def worst_case_seconds(terms: Terms, site: str, trainer: Trainer) -> float:
    """Seconds that the largest contribution under `terms` takes on this machine, with made-up records in it.

    Reads only the shape of a record, and charges nothing. A patient counts with one record. For a user's own code
    it has room for a few records that begin to raise in one step (`isolation.FEW`), and for the evaluation.
    """
    batch = terms.kind.largest_batch(terms.parties)
    like = population(terms, trainer.data)
    made = made_up(like, math.ceil(batch / terms.plan.training.sample_rate))
    tally = Tally(rehearsed=0 if is_built_in(trainer.task) else FEW)
    rehearsal = replace(
        trainer, data=made, held_out=made, stream=lambda _: Stream(os.urandom(32)), tally=tally
    )
    rounds = [terms]
    if terms.plan.figures is not None:
        rounds.append(replace(terms, round=terms.plan.last_round))
    return max(_seconds(each, site, rehearsal) for each in rounds)


def _seconds(terms: Terms, site: str, rehearsal: Trainer) -> float:
    params, seconds = joined(torch.zeros(terms.dimension), first_norm(terms.plan.privacy)), 0.0
    for _ in range(2):  # the first time a route is chosen, and tables are made
        start = time.perf_counter()
        with suppress(EncodingOverflow):  # training on made-up records need not go well
            contribution(terms, site, params, rehearsal, fresh_excess(terms))
        seconds = time.perf_counter() - start
    return seconds


def site_stream(plan: Plan, site: str, round_number: int) -> Stream:
    """A site's secret stream for one round.

    Fresh from the operating system where the plan promises privacy: a seed that someone knows would undo both
    the noise and the secrecy of the batches. Without that promise it follows the plan's seed, so that a run can
    be repeated, by any engine, to the last bit.
    """
    if plan.is_private:
        return Stream(os.urandom(32))
    return Repeatable(_public(plan.federation.seed), site.encode(), _numbered(round_number))


def open_streams(plan: Plan, sites: Sequence[str], round_number: int) -> Repeatables:
    """`site_stream` of each of these sites, of a plan that promises no privacy."""
    if plan.is_private:
        raise ValueError("the streams of a private run are secret")
    names = (site.encode() for site in sites)
    return Repeatables.of(_public(plan.federation.seed), names, _numbered(round_number))


def _numbered(round_number: int) -> bytes:
    return round_number.to_bytes(4, "big")


@lru_cache
def _public(seed: int) -> bytes:
    return digest("federation/site/stream/2", Writer().u64(seed).finish())


def _fitted(gradient: Gradient, model: nn.Module) -> Gradient:
    """The gradient of a batch whose features are put into the model's type first: never those of a whole site."""

    def fitted(features: Tensor, labels: Tensor, patients: Tensor | None = None) -> Tensor:
        return gradient(fitting(features, model), labels, patients)

    return fitted
