"""The only door out: charge, train, clip, noise, encode; in that order, and nothing else leaves.

`release` is the one function whose result may leave a site. Before it reads a record the journal has charged the
round, durably; before its result is handed on the journal holds it, durably. So a crash can waste budget but
never overspend it, and a retry of the round resends the very same bytes instead of drawing fresh noise.

What a plan makes of a round, where a unit is a record, or a patient with all of their records:

    unit      noise          one site's contribution                          noise on it
    as above  site           delta of DP-SGD steps                            inside every step
    as above  distributed    sum of clipped gradients over one Poisson batch  this site's share
    as above  central        the same                                         the server's
    client    any but none   delta, clipped as a whole                        full / share / the server's
    any       none           delta                                            none

The round after the last, where the plan publishes an evaluation, is one release more: three noised sums over the
held-out records (`clients.figures`), charged to them.

The payload is `Payload.length` integers below 2^ring_bits and has no place for anything else: no count of records
or steps, no loss, no metric, no text. It is checked, turned into bytes, kept by the journal, and what is handed on
is read back from these bytes, so that nothing that was attached to an array in memory travels with it.

The integers lie on a grid that follows from public numbers alone, and the noise on them was drawn as integers. Of
noise in floating point that is added to a float, the last bits tell which float it was (Mironov 2012; Holohan and
Braghin 2021 on the attempts to repair it): here every release that one data set can lead to, so can its neighbor.

Code of the task (model and loss) runs among the records. What it raises could quote them, so of an exception that
is not ours only the kind is passed on. What it prints or writes stays its own: a site approves the tasks that it
runs.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from clients.dpsgd import clipped_gradient
from clients.figures import figures
from clients.training import local_delta, made_up, plain_gradient, poisson_batch
from federation.errors import DataError, FederationError, TaskError
from federation.journal import Journal
from federation.layout import Layout
from federation.plan import Plan
from federation.task import Dataset, Task
from federation.terms import Terms, params_bytes
from privacy.clipping import clip_rows, into_box
from privacy.encoding import Codec, EncodingOverflow, RingVector
from privacy.errors import PolicyViolation, PrivacyError
from privacy.mechanism import GaussianMechanism
from privacy.noise import Stream
from privacy.units import Limit
from privacy.wire import Writer, digest
from privacy.witness import Head


@dataclass(frozen=True)
class Trainer:
    """A site's model and data, and the secret stream of each round."""

    task: Task
    data: Dataset
    stream: Callable[[int], Stream]  # round -> a stream never used before
    held_out: Dataset | None = None  # what a published evaluation is worked out on


@dataclass(frozen=True)
class Payload:
    """The form of everything that leaves: `length` numbers below 2^ring_bits, 8 bytes each, whatever the data."""

    length: int
    ring_bits: int

    @classmethod
    def of(cls, terms: Terms) -> Payload:
        """The form that a round's terms prescribe."""
        return cls(terms.length, terms.codec.ring_bits)

    def seal(self, vector: object) -> bytes:
        """The bytes of a uint64 array of exactly this form. PolicyViolation for anything else, not showing it."""
        if type(vector) is not np.ndarray or vector.dtype != np.uint64 or vector.shape != (self.length,):
            raise PolicyViolation("a release is not of the one form that may leave")
        data = vector.astype("<u8").tobytes()
        self.open(data)
        return data

    def open(self, data: bytes) -> RingVector:
        """The vector of sealed bytes, which are all that it holds. PolicyViolation if they have another form."""
        if type(data) is not bytes or len(data) != 8 * self.length:
            raise PolicyViolation("a release is not of the one form that may leave")
        vector = np.frombuffer(data, "<u8").astype(np.uint64)
        if bool((vector >> np.uint64(self.ring_bits)).any()):
            raise PolicyViolation("a release leaves the ring")
        return vector


def site_stream(plan: Plan, site: str, round_number: int) -> Stream:
    """A site's secret stream for one round.

    Fresh from the operating system where the plan promises privacy: a seed that someone knows would undo both
    the noise and the secrecy of the batches. Without that promise it follows the plan's seed, so that a run can
    be repeated, by any engine, to the last bit.
    """
    if plan.is_private:
        return Stream(os.urandom(32))
    place = Writer().u64(plan.federation.seed).text(site).u32(round_number).finish()
    return Stream(digest("federation/site/stream/1", place))


def release(
    terms: Terms,
    site: str,
    params: Tensor,
    trainer: Trainer,
    journal: Journal,
    *,
    limits: Sequence[Limit] = (),
    heads: Sequence[Head] = (),
) -> RingVector:
    """This site's vector for the secure sum: uint64 of length `terms.length`, below 2^ring_bits.

    The journal checks `limits`, what the site's policy allows at this moment, and `heads`, what others say that
    they saw of its own and their journals, before the round is charged.

    Raises BudgetExceeded, PolicyViolation or LedgerCorrupt before any data is read, EncodingOverflow when a delta
    that is already private, or never was, left the ring's range, and TaskError for whatever the task's code raised.
    """
    run, number = terms.account
    question = terms.question(params_bytes(params)).hex()
    ended = terms.run.hex() if terms.is_evaluation else ""  # its last params are what is evaluated
    sealed = journal.begin(run, number, question, limits, heads, ended)
    form = Payload.of(terms)
    if sealed is None:
        sealed = form.seal(_without_text(terms, site, params, trainer))
        journal.release(run, number, sealed)
    return form.open(sealed)


def worst_case_seconds(terms: Terms, site: str, trainer: Trainer) -> float:
    """How long the largest contribution that `terms` allow takes on this machine, with made-up records in it.

    Nothing is read of the data but the shape of a record, and nothing is charged. A patient counts with one record.
    """
    batch = terms.largest_batch
    like = _population(terms, trainer)
    made = made_up(like, math.ceil(batch / terms.plan.training.sample_rate))
    rehearsal = replace(trainer, data=made, stream=lambda _: Stream(os.urandom(32)))
    params = torch.zeros(terms.dimension)
    seconds = 0.0
    for _ in range(2):  # the first time a route is chosen, and tables are made
        start = time.perf_counter()
        with suppress(EncodingOverflow):  # training on made-up records need not go well
            contribution(terms, site, params, rehearsal)
        seconds = time.perf_counter() - start
    return seconds


def _without_text(terms: Terms, site: str, params: Tensor, trainer: Trainer) -> RingVector:
    """`contribution`, of whose errors only ours keep their words; raised where no other error hangs on to them."""
    try:
        return contribution(terms, site, params, trainer)
    except (FederationError, PrivacyError, EncodingOverflow):
        raise
    except Exception as error:
        kind = type(error).__name__
    raise TaskError(f"training failed with {kind}", hint="try the task's code on made-up records")


def contribution(terms: Terms, site: str, params: Tensor, trainer: Trainer) -> RingVector:
    """Train, clip, noise, encode. The result is private only as far as the plan's noise makes it so."""
    stream = trainer.stream(terms.round)
    mechanism = terms.mechanism
    if mechanism is None:
        return _fixed_point(terms, site, _plain_delta(terms, site, params, trainer, stream), stream)
    if terms.noises_each_step:
        return _fixed_point(
            terms, site, _noised_delta(terms, site, params, trainer, stream, mechanism), stream
        )
    if terms.is_evaluation:
        bounded = _figures(terms, params, trainer)
    elif terms.sums_gradients:
        bounded = _clipped_batch(terms, site, params, trainer, stream, mechanism)
    else:
        delta = _plain_delta(terms, site, params, trainer, stream)
        # A weight is public and at most 1, so what it scales stays within the clipping norm.
        bounded = clip_rows(delta[None], mechanism.clipping_norm)[0] * terms.weight(site)
    integers = _on_grid(terms.codec, bounded)
    if terms.plan.privacy.noise != "central":
        integers = integers + mechanism.noise(stream.derive("noise"))
    return terms.codec.to_ring(integers)


def _fixed_point(terms: Terms, site: str, delta: Tensor, stream: Stream) -> RingVector:
    """Rounded by secret coins, so that the mean over many rounds and sites has no bias."""
    coins = stream.derive("rounding")
    return terms.codec.to_ring(terms.codec.encode(delta * terms.weight(site), coins))


def _plain_delta(terms: Terms, site: str, params: Tensor, trainer: Trainer, stream: Stream) -> Tensor:
    data = _population(terms, trainer)
    model = _model(trainer.task, params, torch.float32)
    gradient = plain_gradient(model, trainer.task.loss)
    training = terms.plan.training
    return local_delta(
        model,
        data,
        training,
        terms.size(site),
        stream.derive("batches"),
        gradient,
        lambda total: total,
    )


def _noised_delta(
    terms: Terms, site: str, params: Tensor, trainer: Trainer, stream: Stream, mechanism: GaussianMechanism
) -> Tensor:
    noise, codec = stream.derive("noise"), terms.step_codec

    def finish(total: Tensor) -> Tensor:
        return codec.decode(_on_grid(codec, total) + mechanism.noise(noise))

    data = _in_float64(_population(terms, trainer))
    model = _model(trainer.task, params, torch.float64)
    with clipped_gradient(
        model, trainer.task.loss, mechanism.clipping_norm, _expected(terms, site)
    ) as gradient:
        batches = stream.derive("batches")
        return local_delta(model, data, terms.plan.training, terms.size(site), batches, gradient, finish)


def _clipped_batch(
    terms: Terms, site: str, params: Tensor, trainer: Trainer, stream: Stream, mechanism: GaussianMechanism
) -> Tensor:
    data = _in_float64(_population(terms, trainer))
    model = _model(trainer.task, params, torch.float64)
    batch = poisson_batch(data, terms.plan.training.sample_rate, stream.derive("batches"))
    with clipped_gradient(
        model, trainer.task.loss, mechanism.clipping_norm, _expected(terms, site)
    ) as gradient:
        return gradient(batch.features, batch.labels, batch.patients)


def _figures(terms: Terms, params: Tensor, trainer: Trainer) -> Tensor:
    whole_patients = terms.plan.privacy.unit == "patient"
    model = _model(trainer.task, params, torch.float32)
    return figures(model, trainer.task, trainer.held_out, whole_patients=whole_patients)


def _population(terms: Terms, trainer: Trainer) -> Dataset:
    """The data with patients in it just where patients are what is drawn and clipped."""
    data = trainer.data
    if terms.plan.privacy.unit != "patient":
        return Dataset(data.features, data.labels)
    if data.patients is None or data.patients.shape != data.labels.shape[:1]:
        raise DataError(
            "the plan protects patients, and the data do not say whose each record is",
            hint='name the column that does, patient = "...", or have the task\'s Dataset carry `patients`',
        )
    return data


def _expected(terms: Terms, site: str) -> float:
    return terms.plan.training.sample_rate * terms.size(site)


def _on_grid(codec: Codec, bounded: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Grid integers of a clipped sum. The box is public and convex: projecting moves no two inputs apart."""
    return codec.encode(into_box(bounded, codec.step * codec.limit))


def _model(task: Task, params: Tensor, dtype: torch.dtype) -> nn.Module:
    model = task.model()
    Layout.of(model).load(model, params)
    return model.to(dtype).train()


def _in_float64(data: Dataset) -> Dataset:
    features = data.features.to(torch.float64) if data.features.is_floating_point() else data.features
    return Dataset(features, data.labels, data.patients)
