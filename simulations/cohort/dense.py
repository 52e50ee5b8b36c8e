"""Chains of linear layers and activations at many sites, as batched matrix products with the backward pass by hand.

A hidden layer's weights lie as (k, in, out), so that neither pass needs to turn anything around; the last layer's,
where it has few outputs, as (k, out, in), and its outputs as (k, out, b): a product with two columns takes three
times as long as the same one with two rows.

Clipping takes norms by formula: a record's gradient in a linear layer is the outer product of the gradient of its
outputs with its inputs, so its length is the product of theirs (`clients.training.per_example`). As there, every
record has one vector in every layer, so no length is a difference of larger numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from federation.model.losses import Single
from federation.model.task import cross_entropy
from privacy.mechanism.clipping import clip_factors, row_lengths
from simulations.cohort.layers import ACTIVATIONS, Layer, as_matrix
from simulations.cohort.nets import Batch, Net, clipped_rows, joined
from simulations.cohort.plain import Plain
from simulations.cohort.quick import product

_SURE = 1e200  # squares up to which no product of two overflows, nor loses what matters below 1e-308

_Passed = tuple[
    Layer, int, Tensor, Tensor
]  # a layer, where its weights are, its inputs, the gradient of its outputs


class Dense(Net):
    """A chain of linear layers at k sites, under a loss whose slope in the outputs is known."""

    def __init__(self, layers: Sequence[Layer], loss: object = cross_entropy) -> None:
        self._layers, self._loss = tuple(layers), loss
        self.plain = Plain(layers, loss)
        self.weights, self.start = [], []
        self._room: list[Tensor] = []  # kept from round to round, with room for the copies of further blocks

    def begin(self, params: Tensor, sites: int) -> None:
        self.start = self.parts(params[None])
        kept = self._room[0] if self._room else None
        if kept is None or len(kept) < sites or (kept.dtype, kept.device) != (params.dtype, params.device):
            self._room = [part.new_empty((sites, *part.shape[1:])) for part in self.start]
        self.weights = [room[:sites] for room in self._room]
        for weight, part in zip(self.weights, self.start, strict=True):
            weight.copy_(part.expand_as(weight))

    def still(self, params: Tensor, sites: int) -> None:
        self.start = self.parts(params[None])
        self.weights = [part.expand(sites, *part.shape[1:]) for part in self.start]
        self._room = []

    def parts(self, rows: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for layer in self._layers:
            whole = as_matrix(layer, rows)
            found.append((whole if layer.turned else whole.transpose(1, 2)).contiguous())
            if layer.biased:
                end = layer.at + layer.size
                found.append(rows[:, end : end + layer.outputs].contiguous())
        return found

    def rows(self, parts: Sequence[Tensor], out: Tensor) -> Tensor:
        left = iter(parts)
        for layer in self._layers:
            end, weight = layer.at + layer.size, next(left)
            place = as_matrix(layer, out)
            place.copy_(weight if layer.turned else weight.transpose(1, 2))
            if layer.biased:
                out[:, end : end + layer.outputs] = next(left)
        return out

    def gradients(self, batch: Batch) -> list[Tensor]:
        found: list[list[Tensor]] = []
        for layer, _, seen, back in self._backward(batch, self._copied(batch), weighted=True):
            found.append(_summed(layer, seen, back))
        return self._joined(batch, found)

    def clipped(self, batch: Batch, norm: float, out: Tensor) -> Tensor:
        passed = list(self._backward(batch, self._copied(batch), weighted=False))
        if batch.units is not None:
            return self._of_patients(passed, batch, norm, out.zero_())
        factors, bad = _factors(passed, norm)
        factors = factors * batch.weights  # 1 or what the class weighs, and 0 for what is padded
        for layer, _, seen, back in passed:
            axis = 1 if layer.turned else 2
            scaled = back.mul_(factors.unsqueeze(axis))
            if bad is not None:  # 0 times NaN is NaN
                self._put(layer, _without(seen, bad, 2), _without(scaled, bad, axis), batch, out)
            else:
                self._put(layer, seen, scaled, batch, out)
        return out

    def _put(self, layer: Layer, seen: Tensor, back: Tensor, batch: Batch, out: Tensor) -> None:
        """A layer's sums over the records of each site, in their places of the rows `out`."""
        count, turned = len(out), back if layer.turned else back.transpose(1, 2)
        weight, bias = as_matrix(layer, out), out[:, layer.at + layer.size :][:, : layer.outputs]
        product(turned[:count], seen[:count], weight)
        sums = _over_records(layer, back) if layer.biased else None
        if sums is not None:
            bias.copy_(sums[:count])
        if len(back) > count:  # further blocks, added to their sites' own
            weight.index_add_(0, batch.owners, torch.bmm(turned[count:], seen[count:]))
            if sums is not None:
                bias.index_add_(0, batch.owners, sums[count:])

    def _joined(self, batch: Batch, found: list[list[Tensor]]) -> list[Tensor]:
        """Layers in order, and further blocks added to their sites' own."""
        return joined([part for layer in reversed(found) for part in layer], batch, len(self.weights[0]))

    def _copied(self, batch: Batch) -> list[Tensor]:
        """The weights of all blocks: those of further ones are copies of what their sites have now."""
        if len(batch.drawn.owners) == 0:
            return self.weights
        count, blocks = len(self.weights[0]), len(batch.labels)
        if not self._room:
            return [part.expand(blocks, *part.shape[1:]) for part in self.start]
        if len(self._room[0]) < blocks:
            self._room = [
                torch.cat([own, own.new_empty((blocks - count, *own.shape[1:]))]) for own in self.weights
            ]
            self.weights[:] = [room[:count] for room in self._room]
        for room in self._room:
            torch.index_select(room[:count], 0, batch.owners, out=room[count:blocks])
        return [room[:blocks] for room in self._room]

    def _backward(self, batch: Batch, weights: list[Tensor], *, weighted: bool) -> Iterator[_Passed]:
        """Each layer, the last one first: where its weights are, its inputs, and the gradient of its outputs.

        What comes next is worked out before a layer is handed out, so that its weights may be moved then.
        """
        seen, places = self._forward(batch, weights)
        outputs, last = seen.pop(), self._layers[-1]
        classes = 1 if last.turned else 2
        if isinstance(self._loss, Single):
            back = self._loss.slope(outputs.squeeze(classes), batch.labels).unsqueeze(classes)
        else:
            back = torch.softmax(outputs, classes)
            labels = batch.labels.unsqueeze(classes)
            back.scatter_add_(classes, labels, back.new_full((1, 1, 1), -1.0).expand_as(labels))
        if weighted:
            back.mul_(batch.weights.unsqueeze(classes))
        for index in range(len(self._layers) - 1, -1, -1):
            layer, weight, further = self._layers[index], weights[places[index]], back
            if index > 0:
                before = self._layers[index - 1].act
                if layer.turned:
                    further = product(back.transpose(1, 2), weight)
                else:
                    further = _through(back, weight.transpose(1, 2))
                if before is not None:
                    further = ACTIVATIONS[before][1](further, seen[index])
            yield layer, places[index], seen[index], back
            back = further

    def _forward(self, batch: Batch, weights: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
        """The inputs of every layer, and the outputs of the last; and where the weights of each are."""
        seen, places, place = [batch.features.flatten(2)], [], 0
        for layer in self._layers:
            weight, inputs = weights[place], seen[-1]
            outputs = product(weight, inputs.transpose(1, 2)) if layer.turned else _through(inputs, weight)
            if layer.biased:
                outputs.add_(weights[place + 1].unsqueeze(2 if layer.turned else 1))
            seen.append(outputs if layer.act is None else ACTIVATIONS[layer.act][0](outputs))
            places.append(place)
            place += 1 + layer.biased
        return seen, places

    def _of_patients(self, passed: list[_Passed], batch: Batch, norm: float, zeros: Tensor) -> Tensor:
        """Records' rows are made, added up by patient, and each patient's sum is clipped as one."""
        places = batch.places
        flat = [
            (layer, seen.flatten(0, 1), (back.transpose(1, 2) if layer.turned else back).flatten(0, 1))
            for layer, _, seen, back in reversed(passed)
        ]

        def rows(part: slice) -> Tensor:
            return torch.cat([each for one in flat for each in _flat_rows(*one, places[part])], dim=1)

        return clipped_rows(rows, batch, norm, zeros)


def _flat_rows(layer: Layer, seen: Tensor, back: Tensor, places: Tensor) -> Iterator[Tensor]:
    own = back[places]
    yield torch.bmm(own[:, :, None], seen[places][:, None, :]).flatten(1)
    if layer.biased:
        yield own


def _without(values: Tensor, bad: Tensor, axis: int) -> Tensor:
    return values.masked_fill(bad.unsqueeze(axis), 0.0)


def _through(values: Tensor, weight: Tensor) -> Tensor:
    """Values (k, b, n) times weights (k, n, m): one product for all where all have the same weights."""
    if weight.stride(0) == 0:
        return torch.mm(values.flatten(0, 1), weight[0]).view(*values.shape[:2], weight.shape[2])
    return product(values, weight)


def _summed(layer: Layer, seen: Tensor, back: Tensor) -> list[Tensor]:
    left, right = (back, seen) if layer.turned else (seen.transpose(1, 2), back)
    weight = product(left, right)
    return [weight, _over_records(layer, back)] if layer.biased else [weight]


def _over_records(layer: Layer, back: Tensor) -> Tensor:
    return back.sum(2 if layer.turned else 1)


def _factors(passed: list[_Passed], norm: float) -> tuple[Tensor, Tensor | None]:
    """What every record's gradient is scaled by, (k, b), and which are not finite, if any may be.

    Squares are enough up to _SURE: what vanishes below 1e-308 in one factor is then below 1e-54 in the product, and
    no clipping norm is as short. Beyond, lengths are taken with care.
    """
    seen = torch.stack([each.square().sum(2) for _, _, each, _ in passed])
    back = torch.stack([each.square().sum(1 if layer.turned else 2) for layer, _, _, each in passed])
    if seen.numel() == 0 or float(torch.maximum(seen.amax(), back.amax())) < _SURE:
        biased = back.new_tensor([float(layer.biased) for layer, *_ in passed])
        lengths = seen.add_(biased[:, None, None]).mul_(back).sum(0).sqrt_()
        return norm / lengths.clamp_(min=norm), None
    lengths = torch.linalg.vector_norm(torch.stack([_with_care(*one) for one in passed]), dim=0)
    return clip_factors(lengths, norm, lengths.dtype), ~torch.isfinite(lengths)


def _with_care(layer: Layer, _: int, seen: Tensor, back: Tensor) -> Tensor:
    of_records = back.transpose(1, 2) if layer.turned else back
    length = row_lengths(seen.flatten(0, 1))
    if layer.biased:
        length = torch.hypot(length, torch.ones_like(length))
    return (length * row_lengths(of_records.flatten(0, 1))).view(seen.shape[:2])
