"""Clipped sums of a batch by one route: in pieces that fit in memory, of records or of whole patients.

A record's gradient takes as much memory as the model, so a batch is summed in pieces of at most MEMORY bytes of
them. The result is the whole batch's sum, up to the last bits of float64.

A patient's records are added up first and clipped as one: however many there are, the patient moves the sum by at
most the clipping norm. Records that are not finite are left out one by one, so a bad reading does not silence the
others; the patient's total is clipped by its own length.

Records on which the task's code raises are left out one by one, too (`clients.training.isolation`). The bound
stands: a record's row, zero if it raises, follows from the record and the params alone. So one record more adds one
clipped row to the sum. One record more of a patient changes that patient's total and no other's, and with or
without the whole patient the sum differs by that total, clipped: at most the clipping norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from clients.training.frozen import type_of
from clients.training.isolation import Tally, apart
from clients.training.local import Gradient
from clients.training.per_example import (
    ClippedSum,
    Loss,
    PerRecord,
    Unsupported,
    alone,
    functorch,
    ghost,
    ghost_bytes,
    hooks,
    row_bytes,
    weighted,
)
from clients.training.places import HERE, Compute, Place, Twin, twin_of
from clients.training.places import MEMORY as ON_DEVICE
from clients.training.slices import slices
from federation.model.base import trained
from federation.model.task import weighed
from privacy.mechanism.clipping import clip_factors, clip_rows, row_lengths

MEMORY = 2**28  # bytes of per-record gradients at once, unless a single one is larger
PER_RECORD = {"hooks": hooks, "functorch": functorch, "slices": slices, "alone": alone}
ROUTES = ("hooks", "functorch", "ghost")  # in batches; "alone" takes one record after the other
_Found = TypeVar("_Found")
_Route = TypeVar("_Route")


@contextmanager
def clipped_sums(
    route: str,
    model: nn.Module,
    loss: Loss,
    clipping_norm: float,
    memory: int = MEMORY,
    tally: Tally | None = None,
    class_weights: Sequence[float] = (),
    place: Place = HERE,
) -> Iterator[Gradient]:
    """Within the context: `(features, labels, patients or None) -> sum of clipped gradients`, flat (d,).

    An empty batch sums to zero. What a record counts by its label is multiplied to what was clipped, or, where
    patients are, to what is added up and clipped. Records that raise are left out, and counted in
    `tally`; without one, what they raise is raised. Unsupported if the route cannot do patients. The model stays on
    the processor; a copy of it is at `place`, where that is a device.
    """
    # In float32 a record's row may not depend on which of two places computed it.
    twin = twin_of(model, place if type_of(model) is torch.float64 else HERE)
    memory = memory if twin is None else ON_DEVICE
    if route == "ghost":
        at_once = max(1, memory // ghost_bytes(model))
        with _both(twin, model, lambda own: ghost(own, loss, clipping_norm, class_weights)) as whole_of:
            yield _of_records(model, whole_of(lambda clipped: clipped), at_once, tally)
        return
    with _both(twin, model, lambda own: PER_RECORD[route](own, loss)) as wherever:
        clipped_rows = wherever(partial(_clipping, clipping_norm, class_weights))
        weighing = wherever(lambda per_record: partial(_weighed_rows, per_record, class_weights))
        fits = 1 if route == "alone" else memory // row_bytes(model)
        whole = _of_records(model, clipped_rows, max(1, fits), tally)

        def gradient(features: Tensor, labels: Tensor, patients: Tensor | None = None) -> Tensor:
            if patients is None or len(labels) == 0:
                return whole(features, labels)
            at_once = max(1, fits // 2)  # patients' rows beside the records'
            return _of_patients(model, weighing, features, labels, patients, clipping_norm, at_once, tally)

        yield gradient


@contextmanager
def _both(
    twin: Twin | None, model: nn.Module, made: Callable[[nn.Module], AbstractContextManager[_Route]]
) -> Iterator[Callable[[Callable[[_Route], Compute[_Found]]], Compute[_Found]]]:
    """Within the context: what is made of a route, on the device first where there is a copy of the model."""
    with ExitStack() as stack:
        here = stack.enter_context(made(model))
        there = None if twin is None else stack.enter_context(made(twin.model))

        def wherever(of: Callable[[_Route], Compute[_Found]]) -> Compute[_Found]:
            return of(here) if twin is None or there is None else twin.first(of(there), of(here))

        yield wherever


def _clipping(clipping_norm: float, class_weights: Sequence[float], per_record: PerRecord) -> ClippedSum:
    def clipped_rows(features: Tensor, labels: Tensor) -> Tensor:
        samples = per_record(features, labels)
        return clipped_sum(samples, clipping_norm, weighed(labels, class_weights, samples[0]))

    return clipped_rows


def clipped_sum(samples: list[Tensor], clipping_norm: float, weights: Tensor) -> Tensor:
    """Per-record gradients by parameter, (n, *shape) each, clipped over all parameters and added up, flat (d,).

    What was clipped counts `weights` (n,), none of which is above 1: it stays as short as the norm.
    """
    lengths = torch.linalg.vector_norm(torch.stack([row_lengths(rows) for rows in samples]), dim=0)
    kept = torch.isfinite(lengths)
    factors = clip_factors(lengths, clipping_norm, samples[0].dtype) * weights
    return torch.cat([weighted(rows, factors, kept).reshape(-1) for rows in samples]).detach()


def _weighed_rows(
    per_record: PerRecord, class_weights: Sequence[float], features: Tensor, labels: Tensor
) -> list[Tensor]:
    samples = per_record(features, labels)
    if not class_weights:
        return samples
    weights = weighed(labels, class_weights, samples[0])
    return [rows * weights.view(-1, *(1,) * (rows.dim() - 1)) for rows in samples]


def _of_records(model: nn.Module, clipped: ClippedSum, at_once: int, tally: Tally | None) -> Gradient:
    def gradient(features: Tensor, labels: Tensor, patients: Tensor | None = None) -> Tensor:
        if patients is not None and len(labels) > 0:
            raise Unsupported("this route clips records, not patients")
        position = _Position(model)

        def piece(places: Tensor) -> Tensor:
            position.restore()
            return position.checked(clipped(features[places], labels[places]), position.zeros.shape)

        total = position.zeros.clone()
        for found in _parts(piece, torch.arange(len(labels)), tally, at_once):
            total += found
        return total

    return gradient


def _of_patients(
    model: nn.Module,
    per_record: PerRecord,
    features: Tensor,
    labels: Tensor,
    patients: Tensor,
    clipping_norm: float,
    at_once: int,
    tally: Tally | None,
) -> Tensor:
    """Records in the order of patients; the last one of a piece stays open, since the next may go on with it."""
    position = _Position(model)

    def piece(places: Tensor) -> tuple[Tensor, Tensor]:
        position.restore()
        rows = torch.cat([part.flatten(1) for part in per_record(features[places], labels[places])], dim=1)
        return places, position.checked(rows.detach(), (len(places), *position.zeros.shape))

    total, open_row, open_id = position.zeros.clone(), position.zeros, None
    for places, found in _parts(piece, torch.argsort(patients, stable=True), tally, at_once):
        rows = torch.where(torch.isfinite(found).all(dim=1, keepdim=True), found, torch.zeros_like(found))
        ids, place = torch.unique_consecutive(patients[places], return_inverse=True)
        sums = rows.new_zeros((len(ids), rows.shape[1])).index_add_(0, place, rows)
        if int(ids[0]) == open_id:
            sums[0] += open_row
        else:
            total += clip_rows(open_row[None], clipping_norm)[0]
        total += clip_rows(sums[:-1], clipping_norm).sum(dim=0)
        open_id, open_row = int(ids[-1]), sums[-1]
    return total + clip_rows(open_row[None], clipping_norm)[0]


def _parts(
    compute: Callable[[Tensor], _Found], places: Tensor, tally: Tally | None, at_once: int
) -> Iterator[_Found]:
    if tally is not None:
        return apart(compute, places, tally, at_once)
    return (compute(part) for part in torch.split(places, at_once) if len(part))


class _Position:
    """The parameters as they are at the start of a batch: code that moved them for some records moved a copy."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(trained(model).values())
        self._saved = [parameter.detach().clone() for parameter in self._parameters]
        size = sum(values.numel() for values in self._saved)
        self.zeros = self._saved[0].new_zeros(size, dtype=torch.float64)

    def restore(self) -> None:
        """Set the parameters back."""
        for parameter, saved in zip(self._parameters, self._saved, strict=True):
            parameter.data = saved.clone()

    def checked(self, found: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What a route found, if it has the form that can be added up."""
        if found.shape != shape or found.dtype != self.zeros.dtype:
            raise Unsupported("a gradient is not of the form of the parameters")
        return found
