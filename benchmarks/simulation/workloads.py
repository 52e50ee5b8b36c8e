"""What is trained: networks, made-up records of so many clients, and the raw PyTorch loop over their minibatches.

It imports nothing but torch, so that the same file says what a peer trains in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

Batch = tuple[Tensor, Tensor]
Records = tuple[Tensor, Tensor]


def logistic() -> nn.Module:
    """30 inputs, 2 classes: 62 parameters."""
    return nn.Linear(30, 2)


def mlp() -> nn.Module:
    """One hidden layer: 2,114 parameters."""
    return nn.Sequential(nn.Linear(30, 64), nn.Tanh(), nn.Linear(64, 2))


def cifar() -> nn.Module:
    """The layers of pfl-research's network for CIFAR-10, 1,626,442 parameters: two convolutions, one pooling."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(14 * 14 * 64, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )


def digits() -> nn.Module:
    """The network that is usual for MNIST with differential privacy: 26,010 parameters, bounded activations."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, padding=3),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Conv2d(16, 32, 4, 2),
        nn.Tanh(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 32),
        nn.Tanh(),
        nn.Linear(32, 10),
    )


@dataclass(frozen=True)
class Workload:
    """One local epoch at every client of a round: `records` each, in batches of about `batch`."""

    name: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    clients: int
    records: int = 50
    batch: int = 10
    rate: float = 0.1
    unit: str = "client"  # whom noise protects, where there is any
    rounds: int = 30  # of a run; after the 20th every other one has no figures
    cores: bool = False  # bound by arithmetic, and so worth a process for each core: timed by the clock
    privately: bool = False  # DP-SGD in every step, which is then compared with Opacus, too

    @property
    def steps(self) -> int:
        """Local steps: one epoch."""
        return self.records // self.batch

    def of(self, clients: int) -> Workload:
        """The same with so many clients."""
        return replace(self, clients=clients)

    def records_of(self, client: int) -> Records:
        """What a client holds: numbers in [-1, 1), and labels that a linear rule over them gives."""
        generator = torch.Generator().manual_seed(1 + client)
        features = 2 * torch.rand(self.records, *self.shape, generator=generator) - 1
        rule = torch.Generator().manual_seed(0)
        weights = torch.rand(features[0].numel(), self.classes, generator=rule) - 0.5
        return features, (features.flatten(1) @ weights).argmax(1)

    def initial(self) -> nn.Module:
        """The model before the first round, the same everywhere."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return self.model()


WORKLOADS: Mapping[str, Workload] = {
    one.name: one
    for one in (
        Workload("mlp", mlp, (30,), 2, clients=100),
        Workload("logistic", logistic, (30,), 2, clients=100),
        Workload("cnn", cifar, (3, 32, 32), 10, clients=50, rate=0.02, rounds=3, cores=True),
        Workload("dp-mlp", mlp, (30,), 2, clients=20, unit="record", privately=True),
        Workload("dp-cnn", digits, (1, 28, 28), 10, clients=5, unit="record", privately=True),
    )
}


def raw_round(
    work: Workload, model: nn.Module, start: Sequence[Tensor], batches: Sequence[Sequence[Batch]]
) -> list[Tensor]:
    """The plain loop: every client from the same params, a step for each of its minibatches; the mean change.

    A step divides by the batch that is expected, as the sites do.
    """
    params = list(model.parameters())
    total = [torch.zeros_like(each) for each in start]
    for mine in batches:
        with torch.no_grad():
            for param, first in zip(params, start, strict=True):
                param.copy_(first)
        optimizer = torch.optim.SGD(params, lr=work.rate)
        for features, labels in mine:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(features), labels, reduction="sum") / work.batch
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            for change, param, first in zip(total, params, start, strict=True):
                change.add_(param - first)
    return [each / len(batches) for each in total]


def cut(work: Workload, records: Records) -> list[Batch]:
    """A client's records in order, in whole batches: for peers, which draw no Poisson batches."""
    features, labels = records
    return list(zip(features.split(work.batch), labels.split(work.batch), strict=True))
