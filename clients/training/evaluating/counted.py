"""A site's part of a noised histogram, or of bounded sums: its held-out records, each in one block of every table.

Of two classes a record adds a 1 to the cell of its score's bin, its class and its group; of what is no class it
adds to its group what `clients.training.evaluating.measured` says. A patient adds the mean of what their records
would, so that each person counts once, however many records there are. Either part is at most `Blocks.norm` long. A
record on which the model's code raises adds nothing, and a score that is no number counts as 0.

Scores are worked out in float64. How a matrix product rounds can depend on which other records are beside a record;
were that to take a score over the edge of a bin, one record more would move another. In float64 that takes a score
within about 1e-15 of an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from clients.training.evaluating.held_out import each_apart, patients_of
from clients.training.evaluating.measured import of_numbers, of_times
from clients.training.frozen import fitting
from clients.training.isolation import Tally
from federation.errors import TaskError
from federation.kinds.cells import CLASSES, Cells, Summed
from federation.kinds.moments import Numbers, Times
from federation.model.task import Dataset, Task
from federation.plan.layout import layout
from federation.plan.plan import Plan
from federation.plan.tabular import TabularTask

_AT_ONCE = 2**22  # numbers


def counts(
    model: nn.Module, task: Task, plan: Plan, blocks: Summed, data: Dataset | None, tally: Tally
) -> Tensor:
    """The sums of a site, float64 (numbers,). Zeros where nothing is held out."""
    if data is None or len(data) == 0:
        return torch.zeros(blocks.length, dtype=torch.float64)
    if not isinstance(plan.task, TabularTask):
        raise TaskError(f"{task.name}: a histogram of scores is of a table", hint="remove bins")
    wide = replace(data, features=fitting(data.features, model))
    said = _said(model.eval(), task, blocks, wide, tally)
    if plan.figures is not None and plan.figures.draws_patients:
        weights = _shares(patients_of(data))
    else:
        weights = torch.ones(len(data), dtype=torch.float64)
    groups = [
        groups_of(plan.task, table.name, data) if table.name else torch.zeros(len(data), dtype=torch.int64)
        for table in blocks.tables
    ]
    total = torch.zeros(blocks.length, dtype=torch.float64)
    for places in torch.split(torch.arange(len(data)), max(1, _AT_ONCE // blocks.block)):
        rows = _rows(blocks, said[places], data.labels[places]) * weights[places, None]
        _add(total, blocks, rows, [each[places] for each in groups])
    return total


def _add(total: Tensor, blocks: Summed, rows: Tensor, groups: Sequence[Tensor]) -> None:
    """Add the rows (n, block) in place: in each table to the block of each record's group."""
    start = 0
    for table, places in zip(blocks.tables, groups, strict=True):
        end, inside = start + len(table.parts) * blocks.block, places >= 0
        mine = total[start:end].view(len(table.parts), blocks.block)
        mine.index_add_(0, places[inside], rows[inside])
        start = end


def _rows(blocks: Summed, said: Tensor, labels: Tensor) -> Tensor:
    """What each record adds to its block, float64 (n, block): zeros where nothing was said."""
    outputs, is_said = said[:, :-1], said[:, -1:]
    if isinstance(blocks, Numbers):
        return of_numbers(blocks, outputs, labels) * is_said
    if isinstance(blocks, Times):
        return of_times(blocks, outputs, labels) * is_said
    edges = torch.tensor(blocks.edges, dtype=torch.float64)
    rows = torch.zeros(len(labels), blocks.block, dtype=torch.float64)
    places = labels * blocks.bins + torch.bucketize(outputs[:, 0].contiguous(), edges, right=True)
    return rows.scatter_(1, places[:, None], is_said)


def _said(model: nn.Module, task: Task, blocks: Summed, data: Dataset, tally: Tally) -> Tensor:
    """The model's outputs, of two classes the score of the second, and a 1 for whoever has any, float64."""
    if isinstance(blocks, Cells):
        return each_apart(model, task, data, tally, _scored, 2)
    width = 1 if isinstance(blocks, Numbers) else len(blocks.ends)

    def outputs_of(own: nn.Module, features: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            outputs = own(features).to(torch.float64)
        if outputs.dim() != 2 or outputs.shape[1] != width:
            raise ValueError("not one row of outputs per record")
        return torch.cat([outputs, torch.ones_like(outputs[:, :1])], dim=1)

    return each_apart(model, task, data, tally, outputs_of, width + 1)


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


def groups_of(task: TabularTask, name: str, data: Dataset) -> Tensor:
    """The place of each record's value in the columns of a feature, one of which is not 0; -1 where all are.

    A cross with another feature is none of them: it has columns of its own, in which a value may be as large. Of a
    window it is the value in its last row.
    """
    mine = [
        place
        for place, column in enumerate(layout(task))
        if column.feature == name and column.times is None and column.back == 0
    ]
    columns = data.features[:, mine]
    return torch.where((columns > 0).any(dim=1), columns.argmax(dim=1), -1)
