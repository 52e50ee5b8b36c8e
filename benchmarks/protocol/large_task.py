"""A task of one flat vector of FLAT_LENGTH parameters: nearly free to train, so that all else shows."""

from __future__ import annotations

import csv
import os

import torch
from torch import Tensor, nn

from federation import Dataset, Source, Task


class Flat(nn.Module):
    """A linear model of the first two parameters; all others are drawn to zero by their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(int(os.environ.get("FLAT_LENGTH", "1000"))))

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, 2) to (n, 2)."""
        score = features @ self.weight[:2] + self.weight.mean()
        return torch.stack([-score, score], dim=1)


def read(source: Source) -> Dataset:
    """Two numbers and a class."""
    with source.path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    features = torch.tensor([[float(row["a"]), float(row["b"])] for row in rows])
    return Dataset(features, torch.tensor([int(row["y"]) for row in rows]))


def mock(count: int) -> Dataset:
    """Made-up records."""
    return Dataset(torch.rand(count, 2), torch.randint(0, 2, (count,)))


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each record."""
    return nn.functional.cross_entropy(outputs, labels, reduction="none")


task = Task("flat", model=Flat, loss=loss, data=read, mock=mock)
