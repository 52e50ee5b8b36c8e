"""A private step on CUDA beside one on the processor, and beside a plain step there: writes benchmarks/cuda.md.

    python -m benchmarks.cuda            # under five minutes on a machine with a GPU
    python -m benchmarks.cuda --cpu      # the processor's column alone, anywhere: is the script right?

A private step is what a site does with a batch in a round (`clients.training.dpsgd`): the gradient of every record
in float64, clipped, summed, and the sum on the processor, ready for noise. The plain step is one backward pass of
the batch in float32 on the same device. Before anything is timed, the clipped sum of some records is held against
one-by-one autograd on the processor: a wrong device ends the script with status 1. Add a model to CASES.
"""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.simulation.workloads import cifar_plain, digits
from clients.training.dpsgd import chosen_route, clipped_gradient
from clients.training.places import HERE, Place, place_of, require_same
from federation.model.task import cross_entropy

PAGE = Path(__file__).with_name("cuda.md")
NORM, CHECKED, SECONDS, MOST = (
    1.0,
    24,
    6.0,
    20,
)  # records that are checked; seconds and steps of a measurement
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A model, what a record is, and how many are in a batch."""

    name: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    classes: int
    batch: int
    loss: Loss = cross_entropy

    def records(self, count: int) -> tuple[Tensor, Tensor]:
        """So many made-up ones."""
        generator = torch.Generator().manual_seed(7)
        features = torch.rand(count, *self.shape, generator=generator)
        return features, torch.randint(0, self.classes, (count,), generator=generator)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(103, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 2))


CASES = (
    Case("MLP 103-512-512-2", _mlp, (103,), 2, 512),
    Case("CNN of MNIST with privacy", digits, (1, 28, 28), 10, 256),
    Case("CNN of CIFAR-10", cifar_plain, (3, 32, 32), 10, 64),
)


@dataclass(frozen=True)
class Measured:
    """Of one device: seconds of a private and of a plain step, and how far the sum was from autograd's."""

    private: float
    plain: float
    off: float


def one_by_one(case: Case, model: nn.Module) -> Tensor:
    """The clipped sum of CHECKED records by plain autograd, on the processor: the oracle."""
    parameters = list(model.parameters())
    features, labels = case.records(CHECKED)
    total = torch.zeros(sum(each.numel() for each in parameters), dtype=torch.float64)
    for place in range(CHECKED):
        losses = case.loss(model(features[place : place + 1].double()), labels[place : place + 1])
        gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(losses.sum(), parameters)])
        total += gradient * min(1.0, NORM / float(gradient.norm()))
    return total


def measured(case: Case, place: Place) -> Measured:
    """SystemExit where the device is wrong."""
    torch.manual_seed(0)
    model = case.model().double().train()
    require_same(model, case.loss, *(each[:4] for each in _wide(case.records(4))), place)
    expected = one_by_one(case, model)
    with clipped_gradient(model, case.loss, NORM, case.batch, place=place) as gradient:
        found = gradient(*_wide(case.records(CHECKED)), None)
        off = float((found - expected).norm() / expected.norm())
        if not off < 1e-9:
            raise SystemExit(f"{case.name}: {place.device} is off by {off:.1e} of the sum's length")
        features, labels = _wide(case.records(case.batch))
        private = _seconds(lambda: gradient(features, labels, None))
    return Measured(private, _plain(case, place), off)


def _plain(case: Case, place: Place) -> float:
    model = case.model().train().to(place.device)
    parameters = list(model.parameters())
    features, labels = case.records(case.batch)

    def step() -> Tensor:
        losses = case.loss(model(place.put(features)), place.put(labels))
        gradients = torch.autograd.grad(losses.sum(), parameters)
        return torch.cat([each.reshape(-1) for each in gradients]).to("cpu")

    return _seconds(step)


def _wide(records: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return records[0].double(), records[1]


def _seconds(step: Callable[[], object]) -> float:
    """The best of several, after two that are not counted."""
    best, begun = math.inf, time.perf_counter()
    for number in range(MOST):
        start = time.perf_counter()
        step()
        took = time.perf_counter() - start
        if number > 1 or took > SECONDS:
            best = min(best, took)
        if time.perf_counter() - begun > SECONDS and best < math.inf:
            break
    return best


def rows(places: dict[str, Place]) -> Iterator[str]:
    """The lines of the table."""
    for case in CASES:
        model = case.model().double().train()
        count = sum(each.numel() for each in model.parameters())
        route = chosen_route(model, case.loss, *(each[:0] for each in _wide(case.records(1))), case.batch)
        found = {name: measured(case, place) for name, place in places.items()}
        for name, one in found.items():
            print(f"{case.name} on {name}: {one}", flush=True)
            gain = found["processor"].private / one.private
            times = f"{1e3 * one.private:.1f} | {1e3 * one.plain:.1f} | {one.private / one.plain:.1f}"
            what = f"{case.name} | {count:,} | {case.batch} | {route} | {name}"
            yield f"| {what} | {times} | {gain:.1f} | {one.off:.0e} |"


def main() -> None:
    """Measure, and write the page where there is a device."""
    if "--cpu" not in sys.argv and not torch.cuda.is_available():
        raise SystemExit("this machine has no CUDA device; --cpu tries the script")
    places = {"processor": HERE}
    if "--cpu" not in sys.argv:
        places[torch.cuda.get_device_name()] = place_of("cuda")
    lines = list(rows(places))
    head = (
        "| model | parameters | batch | route | on | private step, ms | plain step, ms | private / plain "
        "| times the processor | off autograd |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    threads = f"{torch.get_num_threads()} threads of {platform.machine()}"
    told = f"{datetime.now(UTC):%Y-%m-%d}, torch {torch.__version__}, {threads}"
    text = "\n".join(
        ["# A private step on CUDA", "", f"`python -m benchmarks.cuda`, {told}.", "", head, *lines, ""]
    )
    print(text)
    if "--cpu" not in sys.argv:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
