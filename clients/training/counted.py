"""A site's part of a noised histogram: its held-out records, each in one cell of every table.

A record adds a 1 to the cell of its score's bin, its class and its group. A patient adds the mean of what their
records would, so that each person counts once, however many records there are. Either part is at most `Cells.norm`
long. A record on which the model's code raises is in no cell, and a score that is no number counts as 0.

Scores are worked out in float64. How a matrix product rounds can depend on which other records are beside a record;
were that to take a score over the edge of a bin, one record more would move another. In float64 that takes a score
within about 1e-15 of an edge.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from clients.training.held_out import each_apart, patients_of
from clients.training.isolation import Tally
from federation.errors import TaskError
from federation.kinds.cells import CLASSES, Cells
from federation.model.task import Dataset, Task
from federation.plan.layout import layout
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask


def counts(
    model: nn.Module, task: Task, plan: Plan, cells: Cells, data: Dataset | None, tally: Tally
) -> Tensor:
    """The counts of a site, float64 (cells,). Zeros where nothing is held out."""
    if data is None or len(data) == 0:
        return torch.zeros(cells.length, dtype=torch.float64)
    if not isinstance(plan.task, TabularTask):
        raise TaskError(f"{task.name}: a histogram of scores is of a table's two classes", hint="remove bins")
    wide = replace(data, features=data.features.to(torch.float64))
    scored = each_apart(model.eval(), task, wide, tally, _scored, 2)
    places = _places(plan.task, cells, scored[:, 0], data)
    inside = (places >= 0) & (scored[:, 1] > 0)[:, None]
    weights = torch.ones(len(data), dtype=torch.float64)
    if plan.figures is not None and plan.figures.draws_patients:
        weights = _shares(patients_of(data))
    total = torch.zeros(cells.length, dtype=torch.float64)
    each = weights[:, None].expand_as(places)
    return total.index_add_(0, places[inside], each[inside])


def _shares(patients: Tensor) -> Tensor:
    """What each record counts: one over the number of its patient's records."""
    return 1.0 / torch.bincount(patients).to(torch.float64)[patients]


def _scored(model: nn.Module, features: Tensor, _: Tensor) -> Tensor:
    """The score of the second class, and a 1 for whoever has one, float64 (n, 2)."""
    with torch.no_grad():
        outputs = model(features)
    if outputs.dim() != 2 or outputs.shape[1] != CLASSES:
        raise ValueError("not one row of two outputs per record")
    scores = torch.softmax(outputs.to(torch.float64), dim=1)[:, 1]
    return torch.stack([torch.nan_to_num(scores, nan=0.0), torch.ones_like(scores)], dim=1)


def _places(task: TabularTask, cells: Cells, scores: Tensor, data: Dataset) -> Tensor:
    """The cell of each record in each table, int64 (n, tables); -1 where it is in none."""
    edges = torch.tensor(cells.edges, dtype=torch.float64)
    within = data.labels * cells.bins + torch.bucketize(scores.contiguous(), edges, right=True)
    start, columns = 0, []
    for table in cells.tables:
        group = _groups(task, table.name, data) if table.name else torch.zeros_like(within)
        columns.append(torch.where(group < 0, -1, start + group * cells.block + within))
        start += len(table.parts) * cells.block
    return torch.stack(columns, dim=1)


def _groups(task: TabularTask, name: str, data: Dataset) -> Tensor:
    """The place of each record's value in the columns of a feature, one of which is not 0; -1 where all are.

    A cross with another feature is none of them: it has columns of its own, in which a value may be as large.
    """
    mine = [
        place for place, column in enumerate(layout(task)) if column.feature == name and column.times is None
    ]
    columns = data.features[:, mine]
    return torch.where((columns > 0).any(dim=1), columns.argmax(dim=1), -1)
