"""Bugs planted in the code that sites contribute with, at its own seams; each undone when its context ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.training import local, per_example, sums, work
from federation.kinds.base import Kind
from privacy.mechanism import gaussian
from privacy.mechanism.clipping import clip_factors, clip_rows
from privacy.mechanism.excess import Levels
from privacy.mechanism.noise import VARIANCE, Stream, discrete_gaussian

Plant = Callable[[], AbstractContextManager[object]]


@contextmanager
def clip_twice() -> Iterator[None]:
    """Gradients are clipped at twice the norm."""

    def doubled(lengths: Tensor, norm: float, dtype: torch.dtype) -> Tensor:
        return clip_factors(lengths, 2 * norm, dtype)

    def doubled_rows(rows: Tensor, norm: float) -> Tensor:
        return clip_rows(rows, 2 * norm)

    with (
        patch.object(sums, "clip_factors", doubled),
        patch.object(sums, "clip_rows", doubled_rows),
        patch.object(per_example, "clip_factors", doubled),
    ):
        yield


def less_noise() -> AbstractContextManager[object]:
    """Half the variance."""

    def halved(stream: Stream, size: int, variance: int = VARIANCE) -> NDArray[np.int64]:
        return discrete_gaussian(stream, size, variance // 2)

    return patch.object(gaussian, "discrete_gaussian", halved)


@contextmanager
def one_missing() -> Iterator[None]:
    """The grid counts on the noise of one site more than there is."""
    shares = Levels.shares.fget  # type: ignore[attr-defined]

    def left(self: Levels) -> tuple[int, ...]:
        counted = self.honest + 1
        return tuple(-(-VARIANCE * (counted - self.lost[-1]) // (counted - lost)) for lost in self.lost)

    kept = cached_property(left)
    kept.__set_name__(Levels, "left")
    more = property(lambda self: shares(self) + 1)
    with patch.object(Levels, "shares", more), patch.object(Levels, "left", kept):
        yield


def everybody() -> AbstractContextManager[object]:
    """No sampling: every record is in every batch."""
    return patch.object(local, "poisson_sample", lambda stream, population, rate: np.arange(population))


def same_noise() -> AbstractContextManager[object]:
    """Each round draws its noise from the same key."""
    derive = Stream.derive

    def fixed(self: Stream, label: str) -> Stream:
        return Stream(bytes(range(32))) if label == "noise" else derive(self, label)

    return patch.object(Stream, "derive", fixed)


@contextmanager
def half_counted() -> Iterator[None]:
    """Half the releases are counted, so there is noise for half of them."""
    releases = Kind.releases.fget  # type: ignore[attr-defined]
    with patch.object(Kind, "releases", property(lambda self: releases(self) // 2)):
        yield


def whole_batch_clipped() -> AbstractContextManager[object]:
    """The sum of a batch is clipped, and no record is."""

    def as_one(samples: list[Tensor], norm: float, weights: Tensor) -> Tensor:
        del weights
        return clip_rows(torch.cat([rows.sum(dim=0).reshape(-1) for rows in samples])[None], norm)[0]

    return patch.object(sums, "clipped_sum", as_one)


def records_clipped() -> AbstractContextManager[object]:
    """Of a patient each record is clipped, and not the patient."""
    clipped = sums._of_patients

    def of_records(model: Any, rows: Any, features: Any, labels: Any, patients: Tensor, *rest: Any) -> Tensor:
        return clipped(model, rows, features, labels, torch.arange(len(patients)), *rest)

    return patch.object(sums, "_of_patients", of_records)


def noise_of_another_source() -> AbstractContextManager[object]:
    """Noise that does not follow from the site's stream of the round."""
    other = Stream(bytes(range(32)))

    def drawn(stream: Stream, size: int, variance: int = VARIANCE) -> NDArray[np.int64]:
        del stream
        return discrete_gaussian(other, size, variance)

    return patch.object(gaussian, "discrete_gaussian", drawn)


def sent_in_the_clear() -> AbstractContextManager[object]:
    """Local training noises each step, and goes on with what it had before."""
    trained = local.local_delta

    def bare(*given: Any, **named: Any) -> Tensor:
        *rest, finish, rows = given

        def looked(total: Tensor) -> Tensor:
            finish(total)
            return total

        return trained(*rest, looked, rows, **named)

    return patch.object(work, "local_delta", bare)


PLANTED: Mapping[str, Plant] = {
    "clip x 2": clip_twice,
    "noise / sqrt 2": less_noise,
    "one site's noise missing": one_missing,
    "no subsampling": everybody,
    "the same noise every round": same_noise,
    "half the steps counted": half_counted,
}
