"""Rows that are nobody's: made up from the plan, to try a model with. They cost nothing and tell nothing.

Of a table they are drawn where the model has its input: numbers from all of their public ranges, values and dates
from all that the plan knows, vectors of texts from all directions. So no encoder has to be here.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.data.load import mapped
from clients.rehearsing.records import made_by
from federation.errors import TaskError
from federation.model.points import points_of
from federation.plan.columns.features import Feature, Numeric, Wide
from federation.plan.columns.maps import hats, slices
from federation.plan.columns.scales import corners
from federation.plan.tabular import TabularTask
from federation.report.said.finished import Finished
from privacy.mechanism.noise import Stream

FEW: Final = 33
_RARE: Final = 0.1  # of the numbers and texts, for what is missing
_Numbers = NDArray[np.float64]


def made_rows(run: Finished, count: int = FEW) -> Tensor:
    """Inputs of so many made-up records, (count, ...). NoMock if the task is the user's own and makes none."""
    return made_by(run.task, count).features if run.table is None else _of_table(run.table, count)


def _of_table(task: TabularTask, count: int) -> Tensor:
    text = task.model_dump_json(include={"features"}).encode()
    stream = Stream(sha256(b"federation/exporting/rows/1" + text).digest())  # public: it hides nothing
    rows = np.zeros((count * task.steps, task.width), np.float32)
    for feature, place in zip(task.features, slices(task.features).values(), strict=True):
        rows[:, place] = _columns(feature, len(rows), stream)
    mapped(rows, task)
    return torch.from_numpy(rows.reshape(count, task.inputs))


def _columns(feature: Feature, count: int, stream: Stream) -> _Numbers:
    """The columns (count, width) of a feature."""
    if isinstance(feature, Numeric | Wide):
        many = feature.vector if isinstance(feature, Wide) else 1
        own = 2 * _shares(stream, (count, many)) - 1
        if isinstance(feature, Wide):
            own /= np.linalg.norm(own, axis=1, keepdims=True)
        elif feature.hats is not None:
            own = hats(own[:, 0], feature.hats, corners(feature))
        if feature.missing != "indicator":
            return own
        mark = _shares(stream, (count, 1)) < _RARE
        return np.concatenate([np.where(mark, 0.0, own), mark], axis=1)
    found = np.zeros((count, len(feature.parts)))
    for points in points_of(feature):  # of a date several, each over all of its columns
        found += points.columns[(stream.words(count) % np.uint64(len(points.columns))).astype(np.int64)]
    return found


def _shares(stream: Stream, shape: tuple[int, int]) -> _Numbers:
    """Numbers from 0 to 1."""
    return (stream.words(shape[0] * shape[1]) / 2.0**64).reshape(shape)


@torch.no_grad()
def said_by(module: nn.Module, rows: Tensor, name: str) -> Tensor:
    """What a model says of rows, in the shape that it gives it. TaskError if the user's code fails."""
    try:
        found = module(rows)
    except Exception as error:
        reason = f"{name}: the model failed with {type(error).__name__}"
        raise TaskError(reason, hint="see --debug") from error
    if not isinstance(found, Tensor) or found.shape[:1] != rows.shape[:1]:
        raise TaskError(f"{name}: the model does not give each row an output", hint="correct the model")
    return found
