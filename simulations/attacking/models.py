"""Other models by the same plan, each trained on those for whom a coin fell; and what a model says of everybody."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clients.training.evaluating.held_out import each_apart
from clients.training.isolation import Tally
from federation.errors import InputError, TrainingDiverged
from federation.model.params import Layout
from federation.model.task import Task
from privacy.mechanism.noise import Stream
from simulations.attacking.people import Bits, People
from simulations.baseline import rounds_of
from simulations.comparing.training import last
from simulations.world import World

LEAST, USUAL, MOST = 4, 32, 1000
_SECONDS = 75.0  # in which as many models are trained as there is time for, where nobody says how many
_LARGEST = 60.0  # loss
_SMALLEST = 1e-7  # and the least, of float32
Floats = NDArray[np.float64]
Told = Callable[[int, int], None]  # models that are trained, of how many


@dataclass(frozen=True)
class Models:
    """For each model a row: who was `within`, and the `losses` of all units, and their `logits`."""

    within: Bits
    losses: Floats
    logits: Floats

    def __len__(self) -> int:
        return len(self.within)

    def part(self, which: slice) -> Models:
        """Some of them."""
        return Models(self.within[which], self.losses[which], self.logits[which])


def trained(
    world: World, people: People, count: int | None, secret: Stream, told: Told = lambda _done, _all: None
) -> Models:
    """So many models; for None, as many as there is time for, by the time that the first one took.

    A clock sees no noise and no data, so how many there are tells nothing. TrainingDiverged if one has no model.
    """
    require_count(count)
    declared, plan, asked = people.declared(world.plan), world.plan, count or USUAL
    rows: list[tuple[Bits, Floats, Floats]] = []
    told(0, asked)
    while len(rows) < asked:
        started = time.monotonic()
        bits = people.coins(secret.derive(f"model {len(rows)}"))
        half = replace(world, training=people.half(bits), held_out={})
        params = last(rounds_of(plan, half, declared))
        rows.append((bits, *said_of(world.task, params, people)))
        if count is None and len(rows) == 1:
            asked = affordable(time.monotonic() - started)
        told(len(rows), asked)
    within, losses, logits = (np.stack(each) for each in zip(*rows, strict=True))
    return Models(within, losses, logits)


def require_count(count: int | None) -> None:
    """InputError for a number of models that makes no attack."""
    if count is not None and not (LEAST <= count <= MOST and count % 2 == 0):
        hint = "name one, or leave --models out"
        raise InputError(f"{count} models: not an even number from {LEAST} to {MOST}", hint=hint)


def affordable(seconds: float) -> int:
    """How many models, if each takes so long: an even number.

    >>> affordable(0.01), affordable(10.0), affordable(100.0)
    (32, 6, 4)
    """
    return max(LEAST, min(USUAL, 2 * int(_SECONDS / max(seconds, 1e-3) / 2)))


def said_of(task: Task, params: Tensor, people: People) -> tuple[Floats, Floats]:
    """Of each unit the mean loss, and the mean log-odds of what is true, exp(-loss) taken for its chance."""
    model: nn.Module = task.model()
    Layout.of(model).load(model, params)

    def scored(own: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            return task.loss(own(features), labels).to(torch.float64).reshape(-1, 1)

    rows = each_apart(model.eval(), task, people.everything, Tally(), scored, 1)[:, 0].numpy()
    if not np.isfinite(rows).all():
        raise TrainingDiverged("the model's losses are not finite", hint="lower training.learning_rate")
    kept = np.clip(rows, _SMALLEST, _LARGEST)
    return people.mean_of(rows), people.mean_of(-np.log(np.expm1(kept)))
