"""A model of a user's own, and what such code does that it must not: for whatever tries code on made-up records."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


class Own(nn.Module):
    """A linear model with a habit."""

    def __init__(self, habit: Habit | None = None, classes: int = 2, *, inputs: int = 2) -> None:
        super().__init__()
        self.layer, self.habit, self.calls = nn.Linear(inputs, classes), habit, 0

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x) if self.habit is None else self.habit(self, x)
        return outputs


Habit = Callable[[Own, Tensor], Tensor]


def counting(model: Own, x: Tensor) -> Tensor:
    model.calls += 1
    outputs: Tensor = model.layer(x) * (1 + model.calls)
    return outputs


def editing(model: Own, x: Tensor) -> Tensor:
    outputs: Tensor = model.layer(x.clone())
    x.mul_(2)
    return outputs


def moving(model: Own, x: Tensor) -> Tensor:
    outputs: Tensor = model.layer(x)
    model.layer.bias.data += 1
    return outputs


def seeding(model: Own, x: Tensor) -> Tensor:
    torch.manual_seed(5)
    return functional.dropout(model.layer(x), 0.5, model.training)
