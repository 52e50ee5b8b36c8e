"""A site's part of a published evaluation: right answers, wrong answers and loss, summed over held-out records.

A record contributes (right, wrong, loss / LOSS_BOUND), which is at most sqrt(2) long; a patient the sum over their
records, scaled down to that length if it is longer. So the sums over all held-out records change by a known amount
with one of them, and are noised like an update (`clients.release`). Accuracy and mean loss follow from the sums;
nothing else about the held-out records leaves, their number included. A record on which the task's code raises
contributes zero.

Answers are worked out in float64, as `clients.training.evaluating.counted` says of scores: in float32 the last row
of a batch is rounded otherwise than the same row within it, and one record more could turn another one's answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import vmap

from clients.training.frozen import Guard, fitting, is_large
from clients.training.isolation import Tally, apart
from clients.training.precision import mixed
from clients.training.trial import Trial
from federation.errors import DataError
from federation.kinds.figures import FIGURES, FIGURES_NORM, LOSS_BOUND
from federation.model.base import shared
from federation.model.task import Dataset, Task, is_built_in
from privacy.mechanism.clipping import clip_rows

Scored: TypeAlias = Callable[[nn.Module, Tensor, Tensor], Tensor]


def figures(
    model: nn.Module,
    task: Task,
    data: Dataset | None,
    *,
    whole_patients: bool,
    tally: Tally | None = None,
    threshold: float | None = None,
) -> Tensor:
    """The sums of a site, float64 (3,): right answers, wrong answers, loss in units of LOSS_BOUND.

    The model should be `clients.training.frozen.prepared`, in float64. Zeros where nothing is held out. A loss that
    is not finite counts as LOSS_BOUND, a negative one as 0. Records on which the code raises are left out, and
    counted in `tally`. With a threshold an answer is the second class where its score is at least so high.
    """
    if data is None or len(data) == 0:
        return torch.zeros(FIGURES, dtype=torch.float64)
    tally = Tally() if tally is None else tally

    def scored(own: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        return _scored(own, task, features, labels, threshold)

    fitted = replace(data, features=fitting(data.features, model))
    rows = each_apart(model.eval(), task, fitted, tally, scored, FIGURES)
    if whole_patients:
        patients = patients_of(data)
        people = int(patients.max()) + 1
        rows = torch.zeros(people, FIGURES, dtype=torch.float64).index_add_(0, patients, rows)
    return clip_rows(rows, FIGURES_NORM).sum(dim=0)


def each_apart(
    model: nn.Module, task: Task, data: Dataset, tally: Tally, scored: Scored, width: int
) -> Tensor:
    """What `scored` makes of each record, float64 (n, width); by `vmap`, or alone where code follows values.

    Zeros where the code raised, and where it wrote into the model's base, which records share.
    """
    guard = Guard(model)
    trial = Trial(model, task.loss, data.features[:0], data.labels[:0])
    with torch.random.fork_rng(devices=[]):
        at_once = 1 if is_large(model) or trial.follows_values(2) else len(data)

    def found_at(places: Tensor) -> tuple[Tensor, Tensor]:
        if at_once == 1 or is_built_in(task):
            own = shared(model) if at_once == 1 else model
            with guard.unmoved():
                return places, scored(own, data.features[places], data.labels[places])
        each = vmap(lambda x, y: scored(model, x[None], y[None])[0], randomness="different")
        return places, each(data.features[places], data.labels[places])

    rows = torch.zeros(len(data), width, dtype=torch.float64)
    for places, found in apart(found_at, len(data), tally, at_once):
        rows[places] = found
    return rows


def patients_of(data: Dataset) -> Tensor:
    """Whose each record is. DataError where nobody says."""
    if data.patients is None:
        hint = "name the column that does under task.patient"
        raise DataError("the held-out records do not say whose each of them is", hint=hint)
    return data.patients


def _scored(
    model: nn.Module, task: Task, features: Tensor, labels: Tensor, threshold: float | None
) -> Tensor:
    with torch.no_grad(), mixed():
        outputs = model(features)
        losses = task.loss(outputs, labels).to(torch.float64)
    if outputs.dim() != 2 or not len(outputs) == len(labels) == losses.numel() or losses.dim() != 1:
        raise ValueError("not one row of outputs and one loss per record")
    if threshold is not None and outputs.shape[1] != 2:
        raise ValueError("a threshold is of two classes")
    scores = torch.softmax(outputs, dim=1)
    answers = outputs.argmax(dim=1) if threshold is None else (scores[:, 1] >= threshold).to(labels.dtype)
    right = (answers == labels).to(torch.float64)
    share = torch.nan_to_num(losses / LOSS_BOUND, nan=1.0, posinf=1.0, neginf=0.0).clamp(0.0, 1.0)
    return torch.stack([right, 1.0 - right, share], dim=1)
