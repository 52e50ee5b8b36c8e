"""A model with a base, in training: in which type of number it computes, and that no record writes into the base.

Gradients of records are in float64, since in float32 a batch is rounded by more than a proof can ignore: how a
product of matrices rounds depends on how many rows it has, so one record more may move the rounding of all others.
A large base in float64 takes twice the memory and more than twice the time. It needs neither where no batch is
made: a record that is computed by itself, in its own copy of the model, always at the one public shape that
features have, has a gradient that follows from the record and the params alone, to the last bit. It is measured,
clipped and added up in float64, so the sum moves by at most the clipping norm, as with any other route
(docs/decisions/0057-only-what-trains-travels.md). So code of a user's own that has a large base computes in its own
types, one record after the other; everything else in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from clients.training.known import is_known
from federation.errors import TaskError
from federation.model.base import base_tensors, bytes_of, in_training, trained

LARGE: Final = 2**18  # numbers of a base from which on float64 costs more than batches gain


def is_large(model: nn.Module) -> bool:
    """Whether records are computed one by one, in the model's own types: by its shapes and layers alone."""
    size = sum(each.numel() for each in base_tensors(model).values() if each.is_floating_point())
    return size > LARGE and not is_known(model)


def prepared(model: nn.Module, dtype: torch.dtype, *, apart: bool = False) -> nn.Module:
    """The model as a round trains it: in this type, unless its base is large, and in its modes.

    `apart`: also a large one, because a device computes it. The processor takes over what a device cannot, and the
    two agree to float64's rounding, not to the last bit of float32.
    """
    return in_training(model if is_large(model) and not apart else _to(model, dtype))


def _to(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model in this type. What is complex stays so: torch's own `to` would drop its imaginary part."""
    pairs = {torch.float32: torch.complex64, torch.float64: torch.complex128}

    def converted(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(pairs[dtype])
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    found: nn.Module = model._apply(converted)  # type: ignore[no-untyped-call]
    return found


def type_of(model: nn.Module) -> torch.dtype:
    """The type of what is trained, and of features that are no whole numbers."""
    return next(iter(trained(model).values())).dtype


def fitting(features: Tensor, model: nn.Module) -> Tensor:
    """Features in the model's type; whole numbers, such as those of words, as they are."""
    return features.to(type_of(model)) if features.is_floating_point() else features


class Guard:
    """The base of a model as it was before it saw a record."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._base = model, base_tensors(model)
        self._saved = {name: each.detach().clone() for name, each in self._base.items()}
        self._versions = self._seen()

    @contextmanager
    def unmoved(self, *, to_the_byte: bool = False) -> Iterator[None]:
        """RuntimeError if what runs within writes into the base, which is put back: no record reaches another.

        It notices what torch does. `require_same` looks at the bytes; so does this if asked, which takes longer.
        """
        try:
            yield
        finally:
            moved = self._seen() != self._versions or (to_the_byte and self._moved() is not None)
            if moved:
                self._restore()
        if moved:
            raise RuntimeError("a base was written into")

    def require_same(self, name: str) -> None:
        """TaskError, with which the round ends, if a byte of the base is not as it was."""
        if (at := self._moved()) is not None:
            raise TaskError(
                f'{name}: the code writes into "{at}", which is frozen',
                hint="leave buffers and frozen parameters as they are; the round is not released",
            )

    def _moved(self) -> str | None:
        """The first tensor of which a byte is not as it was, or that is another one."""
        now = base_tensors(self._model)
        for at in {**self._base, **now}:
            if self._base.get(at) is not now.get(at):
                return at
        pairs = ((at, tensor, self._saved[at]) for at, tensor in self._base.items())
        return next((at for at, own, saved in pairs if not torch.equal(bytes_of(own), bytes_of(saved))), None)

    def _seen(self) -> tuple[int, ...]:
        return tuple(each._version for each in self._base.values())

    @torch.no_grad()
    def _restore(self) -> None:
        for name, tensor in self._base.items():
            tensor.data = self._saved[name].clone()  # also where its shape or type was changed
        self._versions = self._seen()
