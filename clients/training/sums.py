"""Clipped sums of a batch by one route: in pieces that fit in memory, of records or of whole patients.

A record's gradient takes as much memory as the model, so a batch is summed in pieces of at most MEMORY bytes of
them. The result is the whole batch's sum, up to the last bits of float64.

A patient's records are added up first and clipped as one: however many there are, the patient moves the sum by at
most the clipping norm. Records that are not finite are left out one by one, so a bad reading does not silence the
others; the patient's total is clipped by its own length.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from clients.training.local import Gradient
from clients.training.per_example import (
    ClippedSum,
    Loss,
    PerRecord,
    Unsupported,
    functorch,
    ghost,
    ghost_bytes,
    hooks,
    row_bytes,
    weighted,
)
from privacy.mechanism.clipping import clip_factors, clip_rows, row_lengths

MEMORY = 2**28  # bytes of per-record gradients at once, unless a single one is larger
PER_RECORD = {"hooks": hooks, "functorch": functorch}
ROUTES = (*PER_RECORD, "ghost")


@contextmanager
def clipped_sums(
    route: str, model: nn.Module, loss: Loss, clipping_norm: float, memory: int = MEMORY
) -> Iterator[Gradient]:
    """Within the context: `(features, labels, patients or None) -> sum of clipped gradients`, flat (d,).

    An empty batch sums to zero. Unsupported if the route cannot do this model, or patients.
    """
    if route == "ghost":
        at_once = max(1, memory // ghost_bytes(model))
        with ghost(model, loss, clipping_norm) as clipped:
            yield _of_records(model, clipped, at_once)
        return
    with PER_RECORD[route](model, loss) as per_record:

        def clipped_rows(features: Tensor, labels: Tensor) -> Tensor:
            return clipped_sum(per_record(features, labels), clipping_norm)

        whole = _of_records(model, clipped_rows, max(1, memory // row_bytes(model)))
        half = max(1, memory // (2 * row_bytes(model)))  # patients' rows beside the records'

        def gradient(features: Tensor, labels: Tensor, patients: Tensor | None = None) -> Tensor:
            if patients is None or len(labels) == 0:
                return whole(features, labels)
            return _of_patients(per_record, features, labels, patients, clipping_norm, half)

        yield gradient


def clipped_sum(samples: list[Tensor], clipping_norm: float) -> Tensor:
    """Per-record gradients by parameter, (n, *shape) each, clipped over all parameters and added up, flat (d,)."""
    lengths = torch.linalg.vector_norm(torch.stack([row_lengths(rows) for rows in samples]), dim=0)
    factors, kept = clip_factors(lengths, clipping_norm, samples[0].dtype), torch.isfinite(lengths)
    return torch.cat([weighted(rows, factors, kept).reshape(-1) for rows in samples]).detach()


def _of_records(model: nn.Module, clipped: ClippedSum, at_once: int) -> Gradient:
    zeros = next(model.parameters()).new_zeros(sum(parameter.numel() for parameter in model.parameters()))

    def gradient(features: Tensor, labels: Tensor, patients: Tensor | None = None) -> Tensor:
        if patients is not None and len(labels) > 0:
            raise Unsupported("this route clips records, not patients")
        if len(labels) <= at_once:
            return clipped(features, labels) if len(labels) else zeros.clone()
        total = zeros.clone()
        for piece in zip(torch.split(features, at_once), torch.split(labels, at_once), strict=True):
            total += clipped(*piece)
        return total

    return gradient


def _of_patients(
    per_record: PerRecord,
    features: Tensor,
    labels: Tensor,
    patients: Tensor,
    clipping_norm: float,
    at_once: int,
) -> Tensor:
    """Records in the order of patients; the last one of a piece stays open, since the next may go on with it."""
    order = torch.argsort(patients, stable=True)
    total: Tensor | None = None
    open_id, open_row = -1, torch.zeros(0)
    for piece in torch.split(order, at_once):
        rows = torch.cat([part.flatten(1) for part in per_record(features[piece], labels[piece])], dim=1)
        rows = torch.where(torch.isfinite(rows).all(dim=1, keepdim=True), rows, torch.zeros_like(rows))
        ids, place = torch.unique_consecutive(patients[piece], return_inverse=True)
        sums = rows.new_zeros((len(ids), rows.shape[1])).index_add_(0, place, rows)
        if total is None:
            total = torch.zeros_like(sums[0])
        elif int(ids[0]) == open_id:
            sums[0] += open_row
        else:
            total += clip_rows(open_row[None], clipping_norm)[0]
        total += clip_rows(sums[:-1], clipping_norm).sum(dim=0)
        open_id, open_row = int(ids[-1]), sums[-1]
    assert total is not None  # noqa: S101 - a batch of patients is not empty
    return (total + clip_rows(open_row[None], clipping_norm)[0]).detach()
