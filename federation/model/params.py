"""Turns a model's named tensors into one flat float32 vector, the form in which it travels, and back.

Only what is trained travels. Frozen parameters and buffers are the model's base (`federation.model.base`): every
party has them already, and they must not change. We refuse BatchNorm in training mode: it makes the output of one
record depend on the others in its batch, so that clipping a record's gradient no longer bounds what the record did,
and it writes what it computed of records into buffers. In evaluation mode its statistics are constants of the base.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from federation.errors import TaskError
from federation.model.base import Kept, check_apart, check_base, trained
from federation.model.shape import params_digest as params_digest  # noqa: PLC0414 - from here, too
from privacy.errors import MalformedMessage
from privacy.wire import Octets

_LOOKED_AT = 2**20
_SAME_MODEL = "have the task make the same model every time"
_ADAPT = (
    "return adapted(model).module, from clients.training.adapt: "
    "it replaces such layers and lists what is different; or freeze it, and put it into evaluation mode"
)


@dataclass(frozen=True)
class Layout:
    """Names and shapes of what a model trains, in the order of `named_parameters`."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, module: nn.Module) -> Self:
        """The layout of a model. TaskError if it cannot be trained privately or cannot travel."""
        _check(module)
        names, parameters = zip(*trained(module).items(), strict=True)
        return cls(names, tuple(tuple(parameter.shape) for parameter in parameters))

    @property
    def dimension(self) -> int:
        """Length of the flat vector."""
        return sum(prod(shape) for shape in self.shapes)

    def flatten(self, module: nn.Module) -> Tensor:
        """A copy of the model's parameters as one float32 vector (d,). TaskError if it has another layout."""
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters(module)])
        return flat.to(torch.float32, copy=True)

    def load(self, module: nn.Module, vector: Tensor) -> None:
        """Set the model's parameters from a flat vector (d,). TaskError if either has another layout."""
        if vector.shape != (self.dimension,):
            message = f"{tuple(vector.shape)} values for a model of {self.dimension} parameters"
            raise TaskError(message, hint=_SAME_MODEL)
        pieces = torch.split(vector.detach(), [prod(shape) for shape in self.shapes])
        with torch.no_grad():
            for parameter, piece in zip(self._parameters(module), pieces, strict=True):
                parameter.copy_(piece.reshape(parameter.shape))

    def _parameters(self, module: nn.Module) -> list[nn.Parameter]:
        named = trained(module)
        if tuple(named) != self.names or tuple(tuple(p.shape) for p in named.values()) != self.shapes:
            raise TaskError("the model does not have the parameters of this layout", hint=_SAME_MODEL)
        return list(named.values())


def initial_params(factory: Callable[[], nn.Module], seed: int) -> Tensor:
    """The flat float32 params (d,) that round 1 starts from: the same for the same seed and torch version.

    Torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = factory.begun(seed) if isinstance(factory, Kept) else factory()
    return Layout.of(model).flatten(model)


def params_bytes(params: Tensor) -> bytes:
    """The canonical bytes of a flat params vector: little-endian float32."""
    return params_view(params).tobytes()


def params_view(params: Tensor) -> memoryview:
    """The same where they are, as far as this machine keeps them so: as good as they are as long as nobody moves
    `params`.
    """
    canonical = params.detach().to(torch.float32).contiguous().numpy().astype("<f4", copy=False)
    return canonical.data.cast("B")


def params_from_bytes(data: Octets, dimension: int) -> Tensor:
    """The float32 vector (d,) of canonical bytes. MalformedMessage if the length or a value cannot be params."""
    if len(data) != 4 * dimension:
        raise MalformedMessage(f"params of {len(data)} bytes do not fit a model of {dimension} parameters")
    params = torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32))
    if not all(bool(torch.isfinite(part).all()) for part in torch.split(params, _LOOKED_AT)):
        raise MalformedMessage("params are not finite")
    return params


def _check(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if isinstance(part, _BatchNorm) and (part.training or not part.track_running_stats):
            raise TaskError(f"{_at(name, part)} mixes the records of a batch", hint=_ADAPT)
        if isinstance(part, _InstanceNorm) and part.track_running_stats and part.training:
            raise TaskError(f"{_at(name, part)} keeps statistics of the records", hint=_ADAPT)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(tensor):
            raise TaskError(f'the parameter "{name}" has no shape yet', hint="do not use lazy modules")
    parameters = trained(module)
    if not parameters:
        raise TaskError("the model has no parameters that are trained", hint="there is nothing to train")
    for name, parameter in parameters.items():
        if parameter.dtype != torch.float32:
            raise TaskError(f'the parameter "{name}" is {parameter.dtype}', hint="make the model float32")
    check_apart(module)
    check_base(module)


def _at(name: str, part: nn.Module) -> str:
    return f'{type(part).__name__} at "{name}"' if name else type(part).__name__
