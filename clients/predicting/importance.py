"""How much worse a model does on given records when a feature's cells are dealt anew among them.

Exact figures of people's records: for the terminal of who has the records, and for no report.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from clients.data.load import mapped, read_table
from clients.predicting.scores import model_of, outputs_of
from clients.rules.origin import Place
from federation.errors import InputError
from federation.plan.columns.maps import slices
from federation.plan.tabular import TabularTask
from federation.report.said.finished import Finished
from privacy.mechanism.noise import Stream

_TIMES = 5


@dataclass(frozen=True)
class Importance:
    """The mean training loss on `records`; by how much it grows without each feature, and its deviation."""

    records: int
    loss: float
    features: tuple[tuple[str, float, float], ...]


def importance(
    run: Finished, places: Sequence[Place], progress: Callable[[int, int], None] = lambda *_: None
) -> Importance:
    """Of the records in these files, with their targets. InputError for a task that reads by its own code."""
    task = run.table
    if task is None:
        raise InputError("permutation importance is for tables", hint="this plan's task has its own reader")
    bare = task.model_copy(update={"cross": None, "rows": None})
    read = [read_table(place, bare).data for place in places]
    features = torch.cat([one.features for one in read]).numpy().reshape(-1, task.steps, bare.width)
    labels = torch.cat([one.labels for one in read])
    model = model_of(run)

    def loss(rows: NDArray[np.float32]) -> float:
        total = 0.0
        for part, truth in _parts(rows, labels, task):
            total += float(run.task.loss(outputs_of(model, part, run.task.name), truth).double().sum())
        return total / len(labels)

    usual, found = loss(features), list[tuple[str, float, float]]()
    order = Stream(hashlib.sha256(b"federation/importance/1").digest())  # of rows; it hides nothing
    for at, (name, place) in enumerate(slices(task.features).items()):
        grown = []
        for _ in range(_TIMES):
            rows = features.copy()
            rows[:, :, place] = features[np.argsort(order.words(len(rows)), kind="stable")][:, :, place]
            grown.append(loss(rows) - usual)
        found.append((name, float(np.mean(grown)), float(np.std(grown))))
        progress(at + 1, len(task.features))
    return Importance(len(labels), usual, tuple(sorted(found, key=lambda one: -one[1])))


def _parts(
    rows: NDArray[np.float32], labels: torch.Tensor, task: TabularTask
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for start in range(0, len(rows), 16384):
        own = rows[start : start + 16384]
        whole = np.zeros((len(own) * task.steps, task.width), np.float32)
        whole[:, : own.shape[2]] = own.reshape(len(whole), -1)
        mapped(whole, task)
        yield torch.from_numpy(whole.reshape(len(own), -1)), labels[start : start + 16384]
