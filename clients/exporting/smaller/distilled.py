"""A student that learns what a run's model says of public or made-up rows: a smaller model, or one of another form.

Of classes it learns the probabilities (Hinton et al. 2015), of all else the outputs themselves. Post-processing of
the params: no label and no record is looked at.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.exporting.rows import said_by
from clients.exporting.schema import Json
from clients.exporting.smaller.public import Learned
from clients.predicting.figures import has_classes
from federation.errors import InputError, TaskError
from federation.model.builtin import factory
from federation.model.params import Layout, initial_params
from federation.plan.outcomes import Classes, Survival
from federation.plan.tabular import CODE
from federation.report.said.finished import Finished
from privacy.mechanism.noise import Stream

_STEPS: Final = 2000
_BATCH: Final = 128
_RATE: Final = 0.02
_KEPT: Final = 5  # one row of so many is kept to compare on


def distill(
    run: Finished, teacher: nn.Module, name: str, learned: Learned, told: Callable[[int, int], None]
) -> tuple[nn.Module, Json, Tensor]:
    """The student, what was done, and the rows that it did not learn from. InputError for an unknown model."""
    order = Stream(hashlib.sha256(b"federation/distilling/1").digest())  # of rows; it hides nothing
    places = torch.from_numpy(np.argsort(order.words(len(learned.rows)), kind="stable"))
    many = max(1, len(places) // _KEPT)
    rows, kept = learned.rows[places[many:]], learned.rows[places[:many]]
    wanted = said_by(teacher, rows, run.task.name)
    make = _maker(run, name, rows, wanted)
    student = make()
    Layout.of(student).load(student, initial_params(make, run.plan.federation.seed))
    if said_by(student, rows[:2], name).shape != wanted[:2].shape:
        raise TaskError(f"{name}: the student's outputs are not those of the model", hint="name another")
    _learn(student, rows, wanted, order, is_of_classes=has_classes(run), told=told)
    return student.eval(), {"what": "distilled", "model": name, "steps": _STEPS, "data": learned.said}, kept


def _maker(run: Finished, name: str, rows: Tensor, outputs: Tensor) -> Callable[[], nn.Module]:
    outcome = run.task.predicts
    known = ("logistic" if isinstance(outcome, Classes | Survival) else "linear", "mlp")
    if name not in known and not CODE.fullmatch(name):
        words = ", ".join(known)
        raise InputError(f"--distill: no such model: {name}", hint=f'{words}, or "package.module:factory"')
    if not rows.is_floating_point() or outputs.dim() != 2:
        raise InputError("--distill is of models from numbers to rows of numbers", hint="leave it out")
    inputs, many = math.prod(rows.shape[1:]), outputs.shape[1]
    made = factory(name, outcome) if run.table is not None or name not in known else factory(name)
    if rows.dim() == 2 or name not in known:
        return lambda: made(inputs, many)
    return lambda: nn.Sequential(nn.Flatten(), made(inputs, many))


def _learn(
    student: nn.Module,
    rows: Tensor,
    wanted: Tensor,
    order: Stream,
    *,
    is_of_classes: bool,
    told: Callable[[int, int], None],
) -> None:
    """Adam with a rate that falls to 0, in batches of a public order."""
    optimizer = torch.optim.Adam(student.parameters(), _RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    shares = torch.softmax(wanted, 1) if is_of_classes else wanted
    waiting = torch.zeros(0, dtype=torch.int64)
    for step in range(_STEPS):
        if not len(waiting):
            waiting = torch.from_numpy(np.argsort(order.words(len(rows)), kind="stable"))
        batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
        outputs = student(rows[batch])
        if is_of_classes:
            loss = functional.cross_entropy(outputs, shares[batch])
        else:
            loss = functional.mse_loss(outputs, shares[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        falling.step()
        if step % 100 == 0:
            told(step, _STEPS)
