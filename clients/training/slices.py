"""Gradients of records in float32, in slices of one shape, each the same to the last bit wherever it stands.

A product of matrices rounds by its shape: with one row more another kernel may add in another order. So `vmap`
always gets SLICE records, the last slice filled up with zeros, and the shape is the same whatever the batch. Under
`vmap` a record's values reach no other row. What is left is the place in the slice: were the rows of one place
added in another order than those of the next, a record that is left out would move all others by a place, and
their rounding with them. Nobody promises that kernels do not do so. But for one shape the order of additions
follows from the place alone, never from values, and two orders differ in the last bits of almost all numbers. So it
is tried, on made-up records, before the route is taken (`is_place_free`): each record at its place and at the next,
and with others beside it. All bits of all gradients must agree.

Then the row of a record follows from the record and the params alone, and it is this very row, widened to float64,
that is measured, clipped and added up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from clients.training.per_example import Loss, PerRecord, functorch
from clients.training.trial import Trial, in_use

SLICE: Final = 16  # public and fixed: more gains little, and the last slice of a batch is filled up


@contextmanager
def slices(model: nn.Module, loss: Loss) -> Iterator[PerRecord]:
    """Within the context: the gradients of all records, in float64, each computed in a slice of SLICE."""
    with functorch(model, loss) as of_slice:

        def per_record(features: Tensor, labels: Tensor) -> list[Tensor]:
            found = [_widened(of_slice, *pair) for pair in _pairs(features, labels)]
            return [torch.cat(rows) for rows in zip(*found, strict=True)]

        yield per_record


def _pairs(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(torch.split(features, SLICE), torch.split(labels, SLICE), strict=True)


def _widened(of_slice: PerRecord, features: Tensor, labels: Tensor) -> list[Tensor]:
    count = len(labels)
    rows = of_slice(_filled(features), _filled(labels))
    return [each[:count].detach().to(torch.float64) for each in rows]


def _filled(records: Tensor) -> Tensor:
    """So many records, and zeros after them, in memory of their own: no view that begins somewhere else."""
    return pad(records, [0, 0] * (records.dim() - 1) + [0, SLICE - len(records)]).clone()


def is_place_free(trial: Trial) -> bool:
    """Whether a record's gradient is the same to the last bit at every place of a slice, whatever is beside it."""
    features, labels = trial.records(SLICE, 5)
    others, their_labels = trial.records(SLICE, 6)
    odd = torch.arange(SLICE) % 2 == 1
    with in_use(trial.model), slices(trial.model, trial.loss) as per_record:  # dropout would draw otherwise

        def rows(x: Tensor, y: Tensor) -> Tensor:
            return torch.cat([part.flatten(1) for part in per_record(x, y)], dim=1)

        found = rows(features, labels)
        moved = rows(features.roll(1, 0), labels.roll(1, 0)).roll(-1, 0)
        mixed = rows(_where(odd, features, others), _where(odd, labels, their_labels))
        fewer = rows(features[: SLICE // 2], labels[: SLICE // 2])
    return (
        _same(moved, found)
        and _same(mixed[odd], found[odd])
        and _same(fewer, found[: SLICE // 2])
        and bool(found.any())
    )


def _where(kept: Tensor, ours: Tensor, others: Tensor) -> Tensor:
    return torch.where(kept.view(-1, *[1] * (ours.dim() - 1)), ours, others)


def _same(found: Tensor, expected: Tensor) -> bool:
    """To the last bit."""
    return torch.equal(found.contiguous().view(torch.int64), expected.contiguous().view(torch.int64))
