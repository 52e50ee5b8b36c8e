"""Chains of linear layers and activations at many sites, as batched matrix products with the backward pass by hand.

A hidden layer's weights lie as (k, in, out), so that neither pass needs to turn anything around; the last layer's,
where it has few outputs, as (k, out, in), and its outputs as (k, out, b): a product with two columns takes three
times as long as the same one with two rows.

Clipping takes norms by formula: the gradient of a record in a linear layer is the outer product of the gradient of
its outputs with its inputs, so its length is the product of theirs (`clients.training.per_example`). As there, every
record has one vector in every layer, so no length is a difference of larger numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from clients.training.known import is_known
from federation.config.tables import Training
from federation.model.task import Task, cross_entropy
from privacy.mechanism.clipping import clip_factors, clip_rows, row_lengths
from simulations.cohort.nets import Batch, Net

_FEW = 8  # outputs of a last layer that is kept the other way around
_SURE = 1e200  # squares up to which no product of two overflows, nor loses what matters below 1e-308
ROWS = 2**26  # bytes of gradients of single records at once, where patients are clipped

_Step = Callable[[Tensor, Tensor], Tensor]  # the gradient of an activation's outputs, and the outputs


def _relu_back(gradient: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)


def _tanh_back(gradient: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.tanh_backward.grad_input(gradient, output, grad_input=gradient)


def _sigmoid_back(gradient: Tensor, output: Tensor) -> Tensor:
    return torch.ops.aten.sigmoid_backward.grad_input(gradient, output, grad_input=gradient)


_ACTIVATIONS: Final[dict[type[nn.Module], tuple[Callable[[Tensor], Tensor], _Step]]] = {
    nn.ReLU: (torch.relu_, _relu_back),
    nn.Tanh: (torch.tanh_, _tanh_back),
    nn.Sigmoid: (torch.sigmoid_, _sigmoid_back),
}


@dataclass(frozen=True)
class _Layer:
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


def layers_of(task: Task) -> tuple[_Layer, ...] | None:
    """The layers of a task that this way is for; None for any other."""
    model = task.model()
    chain = list(_chain(model)) if is_known(model) else []
    if not chain or task.loss is not cross_entropy or len(set(chain)) < len(chain):
        return None
    if type(chain[0]) is nn.Flatten and (chain[0].start_dim, chain[0].end_dim) == (1, -1):
        chain = chain[1:]
    found: list[_Layer] = []
    place = 0
    while chain and type(chain[0]) is nn.Linear:
        part = chain.pop(0)
        act = type(chain.pop(0)) if chain and type(chain[0]) in _ACTIVATIONS else None
        biased, turned = part.bias is not None, not chain and part.out_features <= _FEW
        found.append(_Layer(part.in_features, part.out_features, biased, place, act, turned))
        place += part.in_features * part.out_features + part.out_features * biased
    return None if chain or not found or found[-1].act is not None else tuple(found)


def _chain(model: nn.Module) -> Iterator[nn.Module]:
    if type(model) is not nn.Sequential:
        yield model
        return
    for part in model:
        yield from _chain(part)


class Dense(Net):
    """A chain of linear layers at k sites."""

    def __init__(self, layers: Sequence[_Layer]) -> None:
        self._layers = tuple(layers)
        self.weights, self.start = [], []

    def begin(self, params: Tensor, sites: int) -> None:
        self.start = self.parts(params[None])
        fresh = not self.weights or self.weights[0].shape[0] != sites or self.weights[0].dtype != params.dtype
        if fresh or self.weights[0].device != params.device:
            self.weights = [part.new_empty((sites, *part.shape[1:])) for part in self.start]
        for weight, part in zip(self.weights, self.start, strict=True):
            weight.copy_(part.expand_as(weight))

    def parts(self, rows: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for layer in self._layers:
            whole = rows[:, layer.at : layer.at + layer.size].unflatten(1, (layer.outputs, layer.inputs))
            found.append((whole if layer.turned else whole.transpose(1, 2)).contiguous())
            if layer.biased:
                end = layer.at + layer.size
                found.append(rows[:, end : end + layer.outputs].contiguous())
        return found

    def rows(self, parts: Sequence[Tensor], out: Tensor) -> Tensor:
        left = iter(parts)
        for layer in self._layers:
            end, weight = layer.at + layer.size, next(left)
            place = out[:, layer.at : end].unflatten(1, (layer.outputs, layer.inputs))
            place.copy_(weight if layer.turned else weight.transpose(1, 2))
            if layer.biased:
                out[:, end : end + layer.outputs] = next(left)
        return out

    def gradients(self, batch: Batch) -> list[Tensor]:
        found: list[list[Tensor]] = []
        for layer, _, seen, back in self._backward(batch, weighted=True):
            found.append(_summed(layer, seen, back))
        return [part for parts in reversed(found) for part in parts]

    def descend(self, batch: Batch, training: Training) -> bool:
        if training.optimizer != "sgd" or training.momentum is not None or training.proximal is not None:
            return False
        for layer, place, seen, back in self._backward(batch, weighted=True):
            left, right = (back, seen) if layer.turned else (seen.transpose(1, 2), back)
            self.weights[place].baddbmm_(left, right, alpha=-training.learning_rate)
            if layer.biased:
                self.weights[place + 1].sub_(_over_records(layer, back), alpha=training.learning_rate)
        return True

    def clipped(self, batch: Batch, norm: float) -> list[Tensor]:
        passed = list(self._backward(batch, weighted=False))
        if batch.units is not None and batch.places is not None:
            return self._of_patients(passed, batch, norm)
        kept = batch.weights > 0
        lengths = _lengths(passed)
        factors = clip_factors(lengths, norm, lengths.dtype) * kept
        bad = ~torch.isfinite(lengths)
        found: list[list[Tensor]] = []
        any_bad = bool(bad.any())
        for layer, _, seen, back in passed:
            if any_bad:  # 0 times NaN is NaN
                seen = seen.masked_fill(bad[:, :, None], 0.0)
                back = back.masked_fill(bad[:, None, :] if layer.turned else bad[:, :, None], 0.0)
            found.append(
                _summed(layer, seen, back * (factors[:, None, :] if layer.turned else factors[:, :, None]))
            )
        return [part for parts in reversed(found) for part in parts]

    def _backward(self, batch: Batch, *, weighted: bool) -> Iterator[tuple[_Layer, int, Tensor, Tensor]]:
        """Each layer, the last one first: where its weights are, its inputs, and the gradient of its outputs.

        What comes next is worked out before a layer is handed out, so that its weights may be moved then.
        """
        seen, places = self._forward(batch)
        outputs, last = seen.pop(), self._layers[-1]
        classes = 1 if last.turned else 2
        back = torch.softmax(outputs, classes)
        labels = batch.labels.unsqueeze(classes)
        back.scatter_add_(classes, labels, back.new_full((1, 1, 1), -1.0).expand_as(labels))
        if weighted:
            back.mul_(batch.weights.unsqueeze(classes))
        for index in range(len(self._layers) - 1, -1, -1):
            layer, weight, further = self._layers[index], self.weights[places[index]], back
            if index > 0:
                before = self._layers[index - 1].act
                if layer.turned:
                    further = torch.bmm(back.transpose(1, 2), weight)
                else:
                    further = torch.bmm(back, weight.transpose(1, 2))
                if before is not None:
                    further = _ACTIVATIONS[before][1](further, seen[index])
            yield layer, places[index], seen[index], back
            back = further

    def _forward(self, batch: Batch) -> tuple[list[Tensor], list[int]]:
        """The inputs of every layer, and the outputs of the last; and where the weights of each are."""
        seen, places, place = [batch.features.flatten(2)], [], 0
        for layer in self._layers:
            weight, inputs = self.weights[place], seen[-1]
            left, right = (weight, inputs.transpose(1, 2)) if layer.turned else (inputs, weight)
            if layer.biased:
                bias = self.weights[place + 1]
                outputs = torch.baddbmm(bias.unsqueeze(2 if layer.turned else 1), left, right)
            else:
                outputs = torch.bmm(left, right)
            seen.append(outputs if layer.act is None else _ACTIVATIONS[layer.act][0](outputs))
            places.append(place)
            place += 1 + layer.biased
        return seen, places

    def _of_patients(
        self, passed: list[tuple[_Layer, int, Tensor, Tensor]], batch: Batch, norm: float
    ) -> list[Tensor]:
        """Records' rows are added up by patient, and each patient's sum is clipped as one."""
        assert batch.places is not None
        assert batch.units is not None
        sites, width = batch.labels.shape
        units, owners = torch.unique(batch.units, return_inverse=True)
        dimension = sum(layer.size + layer.outputs * layer.biased for layer in self._layers)
        sums = batch.weights.new_zeros((len(units), dimension))
        flat = [
            (layer, seen.flatten(0, 1), (back.transpose(1, 2) if layer.turned else back).flatten(0, 1))
            for layer, _, seen, back in reversed(passed)
        ]
        at_once = max(1, ROWS // (dimension * sums.element_size()))
        for part, own in zip(batch.places.split(at_once), owners.split(at_once), strict=True):
            rows = torch.cat([each for one in flat for each in _flat_rows(*one, part)], dim=1)
            rows[~torch.isfinite(rows).all(dim=1)] = 0.0
            sums.index_add_(0, own, rows)
        owner = torch.zeros(len(units), dtype=torch.int64, device=sums.device)
        owner[owners] = torch.div(batch.places, width, rounding_mode="floor") if width else owners
        total = sums.new_zeros((sites, dimension)).index_add_(0, owner, clip_rows(sums, norm))
        return self.parts(total)


def _flat_rows(layer: _Layer, seen: Tensor, back: Tensor, places: Tensor) -> Iterator[Tensor]:
    own = back[places]
    yield torch.bmm(own[:, :, None], seen[places][:, None, :]).flatten(1)
    if layer.biased:
        yield own


def _summed(layer: _Layer, seen: Tensor, back: Tensor) -> list[Tensor]:
    left, right = (back, seen) if layer.turned else (seen.transpose(1, 2), back)
    weight = torch.bmm(left, right)
    return [weight, _over_records(layer, back)] if layer.biased else [weight]


def _over_records(layer: _Layer, back: Tensor) -> Tensor:
    return back.sum(2 if layer.turned else 1)


def _lengths(passed: list[tuple[_Layer, int, Tensor, Tensor]]) -> Tensor:
    """The length of every record's gradient, (k, b).

    Squares are enough up to _SURE: what vanishes below 1e-308 in one factor is then below 1e-54 in the product, and
    no clipping norm is as short. Beyond, lengths are taken with care.
    """
    squares = [
        (seen.square().sum(2) + float(layer.biased), back.square().sum(1 if layer.turned else 2))
        for layer, _, seen, back in passed
    ]
    if all(float(each.amax()) < _SURE for pair in squares for each in pair if each.numel()):
        return torch.stack([one * other for one, other in squares]).sum(0).sqrt()
    return torch.linalg.vector_norm(torch.stack([_with_care(*one) for one in passed]), dim=0)


def _with_care(layer: _Layer, _: int, seen: Tensor, back: Tensor) -> Tensor:
    of_records = back.transpose(1, 2) if layer.turned else back
    length = row_lengths(seen.flatten(0, 1))
    if layer.biased:
        length = torch.hypot(length, torch.ones_like(length))
    return (length * row_lengths(of_records.flatten(0, 1))).unflatten(0, seen.shape[:2])
