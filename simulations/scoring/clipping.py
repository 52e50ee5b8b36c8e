"""The share of training records, or patients, that clipping shortens: at the first params and at the model's.

A clip far below what gradients are moves every step the same way, and scores come out wrong without a word: the
noise is as large either way, so nothing else in a report shows it. Only a simulation may look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from clients.training.dpsgd import chosen_route
from clients.training.frozen import fitting, prepared
from clients.training.per_example import row_bytes
from clients.training.sums import MEMORY, PER_RECORD
from federation.model.params import Layout, initial_params
from federation.model.task import Dataset, Task, weighed
from federation.plan.plan import Plan
from federation.report.figures.scores import Clipped
from privacy.mechanism.clipping import row_lengths

_MOST_UNITS, _MOST_SITES = 2000, 50
_LARGE, _FEW = 4096, 200  # parameters from which on so many units are enough
_ROUNDING = 1e-9
_T = TypeVar("_T")


def clipped_share(plan: Plan, task: Task, data: Mapping[str, Dataset], params: Tensor) -> Clipped | None:
    """None where single records or patients are not clipped, or there are none.

    Sites and units are taken at even distances where there are many.
    """
    norm = plan.privacy.clipping_norm
    if norm is None or plan.privacy.unit == "client":
        return None
    names = _spaced(sorted(data), _MOST_SITES)
    each = (_FEW if len(params) > _LARGE else _MOST_UNITS) // max(1, len(names)) + 1
    some = [_some(data[name], each, whole=plan.privacy.unit == "patient") for name in names]
    first = initial_params(task.model, plan.federation.seed)
    shares, units = [], 0
    for at in (first, params):
        lengths = torch.cat([_lengths(task, at, one) for one in some])
        units = len(lengths)
        shares.append(float((lengths > norm * (1 + _ROUNDING)).double().mean()) if units else None)
    return Clipped(first=shares[0], last=shares[1], units=units) if units else None


def _spaced(items: list[_T], most: int) -> list[_T]:
    return [items[number * len(items) // most] for number in range(most)] if len(items) > most else items


def _some(data: Dataset, most: int, *, whole: bool) -> Dataset:
    """At most so many records; or all of so many patients, numbered from 0."""
    if not whole or data.patients is None:
        rows = torch.tensor(_spaced(list(range(len(data))), most), dtype=torch.int64)
        return Dataset(data.features[rows], data.labels[rows])
    people = torch.tensor(_spaced(torch.unique(data.patients).tolist(), most), dtype=torch.int64)
    found = data.at(torch.isin(data.patients, people))
    return Dataset(found.features, found.labels, found.patients).renumbered()


def _lengths(task: Task, params: Tensor, data: Dataset) -> Tensor:
    """Of the gradient of every record, or of every patient's weighted sum: what clipping measures."""
    if len(data) == 0:
        return torch.zeros(0, dtype=torch.float64)
    model = task.model()
    Layout.of(model).load(model, params)
    model = prepared(model, torch.float64)
    features = fitting(data.features, model)
    route = chosen_route(model, task.loss, features[:0], data.labels[:0], whole_patients=True)
    at_once = 1 if route == "alone" else max(1, MEMORY // row_bytes(model))
    lengths, sums = [], None
    with PER_RECORD[route](model, task.loss) as per_record:
        for rows in torch.split(torch.arange(len(data)), at_once):
            found = torch.cat(
                [g.detach().flatten(1) for g in per_record(features[rows], data.labels[rows])], 1
            )
            if data.patients is None:
                lengths.append(row_lengths(found))
                continue
            if sums is None:
                sums = found.new_zeros((int(data.patients.max()) + 1, found.shape[1]))
            found = found * weighed(data.labels[rows], task.class_weights, found)[:, None]
            sums.index_add_(0, data.patients[rows], found)
    return torch.cat(lengths) if sums is None else row_lengths(sums)
