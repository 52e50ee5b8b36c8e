"""Where a site computes gradients: on its processor, or on a device, whose results it takes where it has any.

What a record contributes is defined on the processor. A device is a faster way to the same numbers, as a batch is:
it computes some records at a time, in float64 wherever gradients are clipped, and their sums come back to the
processor, where the noise is added. Noise, masks, batches and the steps of the optimizer never leave it.

Whatever a device raises (no memory, a driver, an operation that it does not have), the processor computes the same
records instead. So no failure of a device leaves out a record, ends a round, or has a batch drawn once more: each
of these would tell of the records in the batch. A kernel that finds an index out of range ends all work on the
device, and the processor then tells which record it was. How many records are on the device at a time, and so its
memory, follows from public numbers alone: the batch that was drawn decides only how often.

Noise that a model draws itself (dropout) is seeded, for each piece, from the processor's generator, which has a
secret seed (`clients.training.isolation.coins`). Without privacy the device is held to repeatable algorithms, and
what has none runs on the processor.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from clients.training.frozen import Guard, type_of
from federation.errors import InputError, TaskError
from federation.model.builtin import said

DEVICES: Final = ("auto", "cpu", "cuda")
MEMORY: Final = 2**30  # bytes of per-record gradients on a device at once, unless a single one is larger
PLAINLY: Final = 1024  # records at once where nothing is clipped
_EMULATED: Final = (
    "CUBLAS_EMULATE_DOUBLE_PRECISION"  # float64 by shorter numbers, as exact as its settings say
)
_Found = TypeVar("_Found")
Compute = Callable[[Tensor, Tensor], _Found]


@dataclass(frozen=True)
class Place:
    """A device; `apart`: a copy of the model is there. `repeatable`: the same bits every time."""

    device: torch.device
    apart: bool = True
    repeatable: bool = False

    def put(self, tensor: Tensor) -> Tensor:
        """A tensor on the device."""
        return tensor.to(self.device)


HERE: Final = Place(torch.device("cpu"), apart=False)
"""The processor."""


def device_of(name: str) -> torch.device:
    """What `auto`, `cpu` or `cuda` means on this machine. InputError for a cuda that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("this machine has no CUDA device", hint='choose "cpu", or "auto"')
    if name not in DEVICES:
        raise InputError(f'"{name}" is no device', hint='choose "auto", "cpu" or "cuda"')
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def place_of(name: str, *, repeatable: bool = False) -> Place:
    """The place of a device's name. InputError as `device_of`, and where float64 would be less than that."""
    device = device_of(name)
    if device.type == "cpu":
        return HERE
    if os.environ.get(_EMULATED, "0") not in ("", "0"):
        reason = f"{_EMULATED} is set: sums in emulated float64 may be off by more than is paid for"
        raise InputError(reason, hint="unset it")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is taken
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False  # which would choose by the sizes of batches
    return Place(device, repeatable=repeatable)


class Twin:
    """A copy of a model on a device, which computes what the model would."""

    def __init__(self, model: nn.Module, place: Place) -> None:
        self._own, self._place = model, place
        self.model = copy.deepcopy(model).to(place.device)
        self._guard = Guard(self.model)

    def first(self, there: Compute[_Found], here: Compute[_Found]) -> Compute[_Found]:
        """`there` with features and labels on the device, its results brought back; `here` where it has none."""

        def computed(features: Tensor, labels: Tensor) -> _Found:
            with suppress(Exception):
                return self.compute(there, features, labels)
            with suppress(Exception):
                torch.cuda.empty_cache()  # pieces of the one that failed; nothing where there is no device
            return here(features, labels)

        return computed

    def compute(self, there: Compute[_Found], features: Tensor, labels: Tensor) -> _Found:
        """What the copy computes, at the params that the model has now. Whatever the device raises is raised.

        So is code that writes into the copy's base, which is put back: no record reaches another by it.
        """
        with self._settled(), self._guard.unmoved():
            for own, copied in zip(self._own.parameters(), self.model.parameters(), strict=True):
                if own.requires_grad:  # what is frozen stays as it is
                    copied.data = self._place.put(own.detach()).clone()
            found: _Found = _brought(there(self._place.put(features), self._place.put(labels)))
            return found

    @contextmanager
    def _settled(self) -> Iterator[None]:
        seed = int(torch.randint(2**62, (), dtype=torch.int64))
        if self._place.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        if not self._place.repeatable:
            yield
            return
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def twin_of(model: nn.Module, place: Place) -> Twin | None:
    """A copy at the place; None on the processor, and where the device has no room for it."""
    if not place.apart:
        return None
    with suppress(Exception):
        return Twin(model, place)
    return None


def require_same(
    model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], features: Tensor, labels: Tensor, place: Place
) -> None:
    """TaskError unless a device finds the gradients of these made-up records that the processor finds.

    For when a run is joined, before anything is charged. The model should draw nothing: it is in evaluation mode.
    """
    if not place.apart:
        return
    own = copy.deepcopy(model).eval()

    def gradients(of: nn.Module) -> Compute[list[Tensor]]:
        def found(inputs: Tensor, known: Tensor) -> list[Tensor]:
            parameters = [each for each in of.parameters() if each.requires_grad]
            return list(
                torch.autograd.grad(loss(of(inputs), known).sum(), parameters, materialize_grads=True)
            )

        return found

    try:
        twin = Twin(own, place)
        there = twin.compute(gradients(twin.model), features, labels)
    except Exception as error:
        message = f"{place.device.type} cannot compute this task: {said(error)} on made-up records"
        raise TaskError(message, hint='set site.device to "cpu"') from None
    exact = type_of(own) is torch.float64
    rtol, atol = (1e-9, 1e-11) if exact else (1e-3, 1e-5)
    pairs = zip(there, gradients(own)(features, labels), strict=True)
    if not all(torch.allclose(one, other, rtol, atol, equal_nan=True) for one, other in pairs):
        message = f"{place.device.type} finds other gradients of made-up records than the processor"
        raise TaskError(message, hint='set site.device to "cpu", and look at the driver')


def _brought(found: Any) -> Any:
    """Tensors, or lists of them, on the processor: whoever waits for them learns what the device raised."""
    if isinstance(found, Tensor):
        return found.detach().to("cpu")
    return [each.detach().to("cpu") for each in found]
