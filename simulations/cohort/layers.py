"""Chains of linear layers and activations, as what trains them by hand sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from clients.training.known import is_known
from federation.model.losses import Single
from federation.model.task import Task, cross_entropy
from simulations.cohort.quick import tanh_

_FEW = 8  # outputs of a last layer that is kept the other way around

_Step = Callable[[Tensor, Tensor], Tensor]  # the gradient of an activation's outputs, and the outputs


def _relu_back(gradient: Tensor, output: Tensor) -> Tensor:
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
    return gradient


def _tanh_back(gradient: Tensor, output: Tensor) -> Tensor:
    torch.ops.aten.tanh_backward.grad_input(gradient, output, grad_input=gradient)
    return gradient


def _sigmoid_back(gradient: Tensor, output: Tensor) -> Tensor:
    torch.ops.aten.sigmoid_backward.grad_input(gradient, output, grad_input=gradient)
    return gradient


ACTIVATIONS: Final[dict[type[nn.Module], tuple[Callable[[Tensor], Tensor], _Step]]] = {
    nn.ReLU: (torch.relu_, _relu_back),
    nn.Tanh: (tanh_, _tanh_back),
    nn.Sigmoid: (torch.sigmoid_, _sigmoid_back),
}


@dataclass(frozen=True)
class Layer:
    """A linear layer and what follows it: `at` is where its weights begin in the flat params."""

    inputs: int
    outputs: int
    biased: bool
    at: int
    act: type[nn.Module] | None
    turned: bool  # weights (k, out, in), outputs (k, out, b)

    @property
    def size(self) -> int:
        return self.inputs * self.outputs


def chain_of(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested `nn.Sequential`, one after the other."""
    if type(model) is not nn.Sequential:
        yield model
        return
    for part in model:
        yield from chain_of(part)


def layers_of(task: Task) -> tuple[Layer, ...] | None:
    """The layers of a task that this way is for; None for any other."""
    model = task.model()
    chain = list(chain_of(model)) if is_known(model) else []
    if not chain or not _is_for(task.loss) or len(set(chain)) < len(chain):
        return None
    if type(chain[0]) is nn.Flatten and (chain[0].start_dim, chain[0].end_dim) == (1, -1):
        chain = chain[1:]
    found: list[Layer] = []
    place = 0
    while chain and isinstance(part := chain[0], nn.Linear):
        chain.pop(0)
        act = type(chain.pop(0)) if chain and type(chain[0]) in ACTIVATIONS else None
        biased, turned = part.bias is not None, not chain and part.out_features <= _FEW
        found.append(Layer(part.in_features, part.out_features, biased, place, act, turned))
        place += part.in_features * part.out_features + part.out_features * biased
    return None if chain or not found or found[-1].act is not None else tuple(found)


def _is_for(loss: object) -> bool:
    return loss is cross_entropy or isinstance(loss, Single)


def as_matrix(layer: Layer, rows: Tensor) -> Tensor:
    """A view of a layer's weights in rows of the flat form, (k, out, in)."""
    return rows[:, layer.at : layer.at + layer.size].view(len(rows), layer.outputs, layer.inputs)
