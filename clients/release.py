"""The only door out: charge, train, clip, noise, encode; in that order, and nothing else leaves.

`release` is the one function whose result may leave a site. Before it reads a record the journal has charged the
round, durably; before its result is handed on the journal holds it, durably. So a crash can waste budget but
never overspend it, and a retry of the round resends the very same bytes instead of drawing fresh noise.

What a plan makes of a round:

    unit     noise          one site's contribution                          noise on it
    record   site           delta of DP-SGD steps                            inside every step
    record   distributed    sum of clipped gradients over one Poisson batch  this site's share
    record   central        the same                                         the server's
    client   any but none   delta, clipped as a whole                        full / share / the server's
    any      none           delta                                            none
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from clients.dpsgd import clipped_gradient
from clients.training import local_delta, plain_gradient, poisson_batch
from federation.journal import Journal
from federation.layout import Layout
from federation.plan import Plan
from federation.task import Dataset, Task
from federation.terms import Terms, params_bytes
from privacy.clipping import clip_rows, into_box
from privacy.encoding import Codec, RingVector
from privacy.mechanism import GaussianMechanism
from privacy.noise import Stream
from privacy.wire import Writer, digest


@dataclass(frozen=True)
class Trainer:
    """A site's model and data, and the secret stream of each round."""

    task: Task
    data: Dataset
    stream: Callable[[int], Stream]  # round -> a stream never used before


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


def release(terms: Terms, site: str, params: Tensor, trainer: Trainer, journal: Journal) -> RingVector:
    """This site's vector for the secure sum: uint64 of length `terms.dimension`, below 2^ring_bits.

    Raises BudgetExceeded or PolicyViolation before any data is read, EncodingOverflow when a delta that is
    already private, or never was, left the ring's range.
    """
    run = terms.run.hex()
    stored = journal.begin(run, terms.round, terms.question(params_bytes(params)).hex())
    if stored is not None:
        return np.frombuffer(stored, "<u8").astype(np.uint64)
    vector = contribution(terms, site, params, trainer)
    journal.release(run, terms.round, vector.astype("<u8").tobytes())
    return vector


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
    if terms.sums_gradients:
        bounded = _clipped_batch(terms, params, trainer, stream, mechanism)
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
    model = _model(trainer.task, params, torch.float32)
    gradient = plain_gradient(model, trainer.task.loss)
    training = terms.plan.training
    return local_delta(
        model,
        trainer.data,
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

    model, data = _model(trainer.task, params, torch.float64), _in_float64(trainer.data)
    with clipped_gradient(model, trainer.task.loss, mechanism.clipping_norm) as gradient:
        batches = stream.derive("batches")
        return local_delta(model, data, terms.plan.training, terms.size(site), batches, gradient, finish)


def _clipped_batch(
    terms: Terms, params: Tensor, trainer: Trainer, stream: Stream, mechanism: GaussianMechanism
) -> Tensor:
    model, data = _model(trainer.task, params, torch.float64), _in_float64(trainer.data)
    batch = poisson_batch(data, terms.plan.training.sample_rate, stream.derive("batches"))
    with clipped_gradient(model, trainer.task.loss, mechanism.clipping_norm) as gradient:
        return gradient(batch.features, batch.labels)


def _on_grid(codec: Codec, bounded: Tensor) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Grid integers of a clipped sum. The box is public and convex: projecting moves no two inputs apart."""
    return codec.encode(into_box(bounded, codec.step * codec.limit))


def _model(task: Task, params: Tensor, dtype: torch.dtype) -> nn.Module:
    model = task.model()
    Layout.of(model).load(model, params)
    return model.to(dtype).train()


def _in_float64(data: Dataset) -> Dataset:
    features = data.features.to(torch.float64) if data.features.is_floating_point() else data.features
    return Dataset(features, data.labels)
