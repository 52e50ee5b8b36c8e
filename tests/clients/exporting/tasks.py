"""Tasks of somebody's own, of the usual kinds of networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from federation import Dataset, Source, Task, adapted

SHAPES = {"conv": (1, 8, 8), "gru": (3, 5)}


class Gru(nn.Module):
    """The last state of a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.GRU(5, 16, batch_first=True), nn.Linear(16, 2)

    def forward(self, rows: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.inner(rows)[0][:, -1])
        return outputs


class Encoder(nn.Module):
    """One layer of attention, in the mean over positions."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.put = nn.Linear(5, 16)
        self.inner = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.out = nn.Linear(16, 2)

    def forward(self, rows: Tensor) -> Tensor:
        outputs: Tensor = self.out(self.inner(self.put(rows)).mean(1))
        return outputs


class Choosing(nn.Module):
    """Goes another way where the rows are large: no graph stands for it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(5, 2), nn.Linear(5, 2)

    def forward(self, rows: Tensor) -> Tensor:
        outputs: Tensor = self.one(rows[:, 0]) if bool(rows.sum() > 0) else self.two(rows[:, 0])
        return outputs


def convolution() -> nn.Module:
    """A small network for images."""
    layers = nn.Conv2d(1, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 2))


def flat() -> nn.Module:
    """Nothing but a convolution."""
    return nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten())


class Frozen(nn.Module):
    """A base that nobody trains, with statistics that are pinned, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.base.requires_grad_(False).eval()
        self.head = nn.Linear(144, 2)

    def forward(self, rows: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.base(rows))
        return outputs


def read(source: Source) -> Dataset:
    """Rows of numbers, a label first; the shape is that of a series."""
    lines = [[float(cell) for cell in line.split(",")] for line in source.path.read_text().splitlines()]
    table = torch.tensor(lines)
    return Dataset(table[:, 1:].reshape(-1, 3, 5), table[:, 0].long())


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Of each record."""
    return functional.cross_entropy(outputs, labels, reduction="none")


def _made(name: str, count: int) -> Dataset:
    return Dataset(torch.rand(count, *SHAPES[name]), torch.randint(0, 2, (count,)))


conv = Task("conv", convolution, loss, read, mock=lambda count: _made("conv", count))
gru = Task("gru", lambda: adapted(Gru()).module, loss, read, mock=lambda count: _made("gru", count))
transformer = Task(
    "transformer", lambda: adapted(Encoder()).module, loss, read, mock=lambda count: _made("gru", count)
)
choosing = Task("choosing", Choosing, loss, read, mock=lambda count: _made("gru", count))
silent = Task("silent", convolution, loss, read)
only_convolutions = Task("flat", flat, loss, read, mock=lambda count: _made("conv", count))
frozen = Task("frozen", Frozen, loss, read, mock=lambda count: _made("conv", count))
