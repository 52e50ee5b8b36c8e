"""Cohorts of made-up sites, trained as one program and one site after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clients.training.isolation import coins
from clients.training.work import SiteWork, Trainer
from federation.model.params import initial_params
from federation.model.task import Dataset, Task, cross_entropy
from federation.round.messages import Member
from federation.round.terms import Terms
from privacy.mechanism.noise import Stream
from simulations.cohort.program import CohortProgram, Rows
from tests.clients.sites import RUN, key_of, make_plan

RAGGED = {"ash": 13, "birch": 1, "cedar": 140, "doum": 40, "elm": 0, "fir": 22}
FEATURES = 6


@dataclass(frozen=True)
class Cohort:
    """A round of some sites: `program` trains them together."""

    terms: Terms
    task: Task
    data: Mapping[str, Dataset]
    params: Tensor
    program: CohortProgram

    def streams(self) -> list[Stream]:
        """The sites' streams, the same every time."""
        return [Stream(key_of(name)) for name in self.terms.parameters.members]

    def together(
        self, train: Callable[[CohortProgram, Terms, Tensor, list[Stream]], Iterator[Rows]]
    ) -> Tensor:
        """Rows of all sites, by the program."""
        found = torch.full((len(self.terms.members), len(self.params)), torch.nan, dtype=torch.float64)
        for place, rows in train(self.program, self.terms, self.params, self.streams()):
            found[place] = rows
        return found

    def one_by_one(self, train: Callable[[SiteWork], Tensor]) -> Tensor:
        """Rows of all sites, each by its own code: the oracle."""
        rows = []
        for name, stream in zip(self.terms.parameters.members, self.streams(), strict=True):
            trainer = Trainer(self.task, self.data[name], lambda _: Stream(bytes(32)))
            with coins(stream):
                row = train(SiteWork(self.terms, name, self.params, trainer, stream))
            rows.append(row.to(torch.float64))
        return torch.stack(rows)


def cohort_of(
    model: Callable[[], nn.Module],
    sizes: Mapping[str, int] = RAGGED,
    *,
    unit: str = "record",
    noise: str = "none",
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    shape: tuple[int, ...] = (FEATURES,),
    device: str = "cpu",
    class_weights: tuple[float, ...] = (),
    spoil: Callable[[dict[str, Dataset]], None] = lambda _: None,
    **training: object,
) -> Cohort:
    """A cohort of sites with so many records; a patient has three, some of them apart."""
    named = {f"training.{name}": value for name, value in {"sample_rate": 0.3, **training}.items()}
    plan = make_plan(unit, noise, **named)
    task = Task("made-up", model, loss, class_weights=class_weights)
    generator = torch.Generator().manual_seed(5)
    data = {
        name: Dataset(
            torch.randn(size, *shape, generator=generator),
            torch.randint(0, 2, (size,), generator=generator),
            torch.randint(0, max(1, size // 3), (size,), generator=generator),
        )
        for name, size in sizes.items()
    }
    spoil(data)
    params = initial_params(model, 1)
    members = tuple(Member(name, max(1, sizes[name])) for name in sorted(sizes))
    terms = Terms(plan=plan, run=RUN, round=1, attempt=1, members=members, dimension=len(params))
    return Cohort(terms, task, data, params, CohortProgram(plan, task, data, device=device))


def updates(program: CohortProgram, terms: Terms, params: Tensor, streams: list[Stream]) -> Iterator[Rows]:
    """Plain training."""
    return program.updates(terms, params, streams)


def logistic() -> nn.Module:
    """A linear layer by itself."""
    return nn.Linear(FEATURES, 2)


def mlp() -> nn.Module:
    """Two layers and few classes."""
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.ReLU(), nn.Linear(8, 2))


def deep() -> nn.Module:
    """Every kind of layer that is batched by hand, one without a bias, and many classes."""
    inner = nn.Sequential(nn.Linear(8, 7, bias=False), nn.Sigmoid(), nn.Linear(7, 7))
    return nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 8), nn.Tanh(), inner, nn.Linear(7, 11))


class Skipping(nn.Module):
    """Code of a user's own that torch can vectorize."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(FEATURES, 5), nn.Linear(5, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Two layers and a way around them."""
        outputs: Tensor = self.outer(torch.tanh(self.inner(features))) + features[:, :2]
        return outputs


def convolutions() -> nn.Module:
    """An image, a convolution, and a wide layer behind it: enough to do that sites go one after the other."""
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 81, 24), nn.ReLU()
    return nn.Sequential(*layers, nn.Linear(24, 2))
