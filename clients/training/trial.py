"""A task's own code on made-up records, before it sees any data: what raises or mixes records here ends the run.

Only the shapes of the data are read. Among real records the code may not end a run any more, since that would tell
of a record; there `clients.training.isolation` leaves out what raises.

The code is called with 0, 1, 2 and as many records as the largest batch has. It must not raise, must give every
record what the record gives alone, the same in a second call, and must leave its inputs, the model and torch alone.
Some code does right by made-up records and mixes real ones, such as `if x.max() > 9: x = x - x.mean(0)`. So this is
for the user, who learns of a mistake at once; that no record reaches another does not rest on it
(`clients.training.known`). Under `vmap` code cannot ask for a value: what asks runs one record at a time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, Self

import torch
from torch import Tensor, nn
from torch.func import vmap

from clients.training.frozen import Guard, fitting, is_large, prepared
from clients.training.isolation import undisturbed
from clients.training.local import made_up
from clients.training.per_example import Loss, losses_of, row_bytes
from federation.errors import TaskError
from federation.model.base import structure, trained
from federation.model.builtin import said
from federation.model.task import Dataset, Task

TRIED = 4  # made-up records in a trial: two that stay and two that change
MADE_UP = (
    "made-up features are in [0, 1), or 0 and 1 where they are whole numbers, and labels are 0 and 1; "
    "the code must take any number of them, also none: x.flatten(1), not x.view(len(x), -1)"
)
_MEMORY = 2**28  # bytes of features, or of gradients, of the largest batch that is tried


class Trial:
    """A model and made-up records for it."""

    def __init__(self, model: nn.Module, loss: Loss, features: Tensor, labels: Tensor) -> None:
        self.model, self.loss = model, loss
        self.parameters = list(trained(model).values())
        self._like = Dataset(features, labels)

    @classmethod
    def of(cls, task: Task, like: Dataset, dtype: torch.dtype) -> Self:
        """A task's, on records of the shape of `like`."""
        model = prepared(task.model(), dtype)
        return cls(model, task.loss, fitting(like.features[:0], model), like.labels[:0])

    def sizes(self, largest: int) -> list[int]:
        """How many records are tried at a time: none, one, two, and as many as `largest` if memory allows."""
        features = self._like.features
        one = max(1, row_bytes(self.model), features.element_size() * math.prod(features.shape[1:]))
        if is_large(self.model):  # none is ever empty, and no batch is made
            return sorted({1, 2, TRIED})
        return sorted({0, 1, 2, max(2, min(largest, _MEMORY // one))})

    def records(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        found = made_up(self._like, count, seed)
        return found.features, found.labels

    def losses(self, features: Tensor, labels: Tensor, seed: int = 0) -> Tensor:
        """The same draws of dropout every time."""
        torch.default_generator.manual_seed(seed)
        return losses_of(self.model, self.loss, features, labels)

    def rows(self, features: Tensor, labels: Tensor) -> Tensor:
        """Gradients of all records, (n, d), by autograd, one record after the other."""
        losses = self.losses(features, labels)
        rows = [
            torch.autograd.grad(one, self.parameters, retain_graph=True, materialize_grads=True)
            for one in losses
        ]
        return torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])

    def close(self, found: Tensor, expected: Tensor) -> bool:
        """Equal but for rounding."""
        exact = expected.dtype == torch.float64
        rtol, atol = (1e-7, 1e-9) if exact else (1e-3, 1e-5)
        return found.shape == expected.shape and torch.allclose(found, expected, rtol, atol, equal_nan=True)

    def mixes(self) -> bool:
        """Whether other records, or their absence, change the loss of a record."""
        features, labels = self.records(TRIED, 0)
        others, their_labels = self.records(TRIED, 1)
        half = TRIED // 2
        first = torch.arange(TRIED) < half
        with torch.no_grad():
            before = self.losses(features, labels)
            for kept in (first, ~first):
                after = self.losses(_where(kept, features, others), _where(kept, labels, their_labels))
                if not self.close(after[kept], before[kept]):
                    return True
            with in_use(self.model):  # without dropout, which draws otherwise for fewer records
                whole, part = self.losses(features, labels), self.losses(features[:half], labels[:half])
        return not self.close(part, whole[:half])

    def follows_values(self, largest: int) -> bool:
        """Whether the code's path may follow what is in the records: an assertion, an `if`, a mask of rows.

        Under `vmap` a tensor has no value that Python could see, and what depends on one raises.
        """
        for size in sorted({1, 2, largest}):
            features, labels = self.records(2 * size, 3)
            pairs = features.reshape(2, size, *features.shape[1:]), labels.reshape(2, size, *labels.shape[1:])
            try:
                with torch.no_grad(), undisturbed(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # torch's, of operations that it computes one by one
                    fresh = structure(self.model)
                    vmap(partial(losses_of, fresh, self.loss), randomness="different")(*pairs)
            except (Exception, SystemExit):
                return True
        return False


def _where(kept: Tensor, ours: Tensor, others: Tensor) -> Tensor:
    """Our records where `kept`, (n,), and others where not."""
    return torch.where(kept.view(-1, *[1] * (ours.dim() - 1)), ours, others)


def require_fit(task: Task, like: Dataset, largest: int, dtype: torch.dtype) -> None:
    """TaskError unless the task's code treats made-up records shaped like `like` as it must."""
    with torch.random.fork_rng(devices=[]):
        trial = Trial.of(task, like, dtype)
        for size in trial.sizes(largest):
            with blaming(task.name, size), undisturbed():
                called = Called.on(trial, task.name, size)
                for check in CHECKS.values():
                    check(called)
        with blaming(task.name, TRIED):
            if trial.mixes():
                raise TaskError(MIXES.format(task.name, TRIED), hint=BY_ITSELF)


MIXES = (
    "{}: with {} made-up records a record's loss is not what it is alone: the model or its loss mixes records"
)
BY_ITSELF = "compute every record by itself: no mean, squeeze, rank or statistic over the first dimension"


@contextmanager
def blaming(name: str, size: int) -> Iterator[None]:
    """A TaskError for whatever the task's code raises within: it has seen no data, so its text may be shown."""
    count = f"{size} made-up record{'' if size == 1 else 's'}"
    try:
        yield
    except TaskError as error:
        message = str(error.args[0])
        if not message.startswith(name):
            raise TaskError(f"{name}: {message}, on {count}", hint=error.hint) from error
        raise
    except (Exception, SystemExit) as error:
        message = f"{name}: the model or its loss failed with {said(error)} on {count}"
        raise TaskError(message, hint=MADE_UP) from error


@dataclass(frozen=True)
class Called:
    """One call of the task's code on made-up records, and what it left behind."""

    trial: Trial
    name: str
    records: tuple[Tensor, Tensor]
    losses: Tensor
    drawn: Tensor
    moved: bool
    changed: bool

    @classmethod
    def on(cls, trial: Trial, name: str, size: int) -> Called:
        """Call the code on so many."""
        features, labels = trial.records(size, 0)
        before, guard = [parameter.detach().clone() for parameter in trial.parameters], Guard(trial.model)
        settings = _settings()
        losses = trial.losses(features, labels)
        drawn = torch.random.get_rng_state()
        moved = not all(map(torch.equal, before, trial.parameters))
        guard.require_same(name)
        return cls(trial, name, (features, labels), losses, drawn, moved, _settings() != settings)

    @property
    def size(self) -> int:
        """How many records there were."""
        return len(self.records[1])

    @cached_property
    def gradients(self) -> Sequence[Tensor | None]:
        """Of all losses together, by parameter; None where it has no part in them. RuntimeError if none has."""
        return torch.autograd.grad(self.losses.sum(), self.trial.parameters, allow_unused=True)


def _inputs(called: Called) -> None:
    if not all(map(torch.equal, called.records, called.trial.records(called.size, 0))):
        message = f"{called.name}: the model or its loss edits its inputs"
        raise TaskError(message, hint="work on a clone of them")


def _parameters(called: Called) -> None:
    if called.moved:
        message = f"{called.name}: the model moves its own parameters"
        raise TaskError(message, hint="leave that to the optimizer")


def _kept_settings(called: Called) -> None:
    if called.changed:
        message = f"{called.name}: the model or its loss changes torch's settings"
        raise TaskError(message, hint="leave them as they are")


def _seed(called: Called) -> None:
    called.trial.losses(*called.records, seed=1)
    if _draws(called.drawn) and torch.equal(torch.random.get_rng_state(), called.drawn):
        message = f"{called.name}: the model or its loss seeds torch's generator"
        raise TaskError(message, hint="leave the seed alone")


def _repeats(called: Called) -> None:
    if not called.trial.close(called.trial.losses(*called.records), called.losses):
        hint = "keep no state between calls, and draw from torch's own generator"
        raise TaskError(f"{called.name}: a second call on the same records gives another loss", hint=hint)


def _gradients(called: Called) -> None:
    if called.size > 0:
        _ = called.gradients


def _alone(called: Called) -> None:
    if called.size > 0:
        _require_alone(called.trial, called.name, called.size, _draws(called.drawn))


CHECKS: Final[Mapping[str, Callable[[Called], None]]] = {
    "inputs": _inputs,
    "parameters": _parameters,
    "settings": _kept_settings,
    "seed": _seed,
    "repeats": _repeats,
    "gradients": _gradients,
    "alone": _alone,
}
"""What is asked of a call, by name, in this order."""


def _require_alone(trial: Trial, name: str, size: int, draws: bool) -> None:
    """A batch must be its records alone; without dropout, which draws otherwise for fewer records."""
    features, labels = trial.records(size, 0)
    with torch.no_grad():
        for places in () if draws else (_some(size),):
            _compare(trial, name, features, labels, places)
        with in_use(trial.model):
            _compare(trial, name, features, labels, _some(size))


def _compare(trial: Trial, name: str, features: Tensor, labels: Tensor, places: list[int]) -> None:
    whole = trial.losses(features, labels)
    for place in places:
        if not trial.close(
            trial.losses(features[place : place + 1], labels[place : place + 1]), whole[place : place + 1]
        ):
            raise TaskError(MIXES.format(name, len(labels)), hint=BY_ITSELF)


def _some(size: int) -> list[int]:
    return sorted({0, 1 % size, size // 2, size - 1})


def _draws(after: Tensor) -> bool:
    """Whether torch's generator, seeded with 0, has moved."""
    return not torch.equal(torch.Generator().manual_seed(0).get_state(), after)


def _settings() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )


@contextmanager
def in_use(model: nn.Module) -> Iterator[None]:
    """Within the context no part of the model is in training."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
