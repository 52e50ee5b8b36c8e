"""Plain SGD on a chain of linear layers at many sites, by NumPy, in room that is kept from round to round.

For models so small that what is not a product takes as long as one: a step writes into the same arrays again, and
makes none that is large. The first layer's biases are one more row of its weights, for a one behind every record;
behind that, of few classes, a column each says which is its own. The rate is in the slopes of the losses, so
that what comes back is what weights move by.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from federation.config.tables import Training
from federation.model.losses import Single
from federation.model.task import weighed
from simulations.cohort.batches import Drawn, Stack
from simulations.cohort.layers import ACTIVATIONS, Layer, as_matrix
from simulations.cohort.quick import multiply

_Floats = NDArray[np.float32]


class _Kept:
    """Arrays by name, in memory that is asked for again only where more is needed."""

    def __init__(self) -> None:
        self._room: dict[str, _Floats] = {}

    def array(self, name: str, *shape: int) -> _Floats:
        """Of this shape, with whatever was left in it."""
        size, room = prod(shape), self._room.get(name)
        if room is None or len(room) < size:
            room = self._room[name] = np.empty(size, np.float32)
        return room[:size].reshape(shape)


def _grown(room: _Floats, blocks: int) -> _Floats:
    """An array of at least so many blocks that begins with what was in this one."""
    if len(room) >= blocks:
        return room
    more = np.empty((blocks, *room.shape[1:]), np.float32)
    more[: len(room)] = room
    return more


class _Held:
    """The weights and biases of one layer at all sites, and at the further blocks of a step."""

    def __init__(self, layer: Layer, *, first: bool) -> None:
        self.layer, self.folded = layer, first and layer.biased  # biases are a part of the weights
        self._room = np.empty((0, *self._shape), np.float32)
        self._biases = np.empty((0, layer.outputs), np.float32)

    @property
    def _shape(self) -> tuple[int, int]:
        inputs, outputs = self.layer.inputs + self.folded, self.layer.outputs
        return (outputs, inputs) if self.layer.turned else (inputs, outputs)

    def weights(self, blocks: int) -> _Floats:
        """(i, in, out), or (i, out, in) where it is turned, with the biases of a first layer."""
        self._room = _grown(self._room, blocks)
        return self._room[:blocks]

    def biases(self, blocks: int) -> _Floats | None:
        """(i, out), if there are any apart from the weights."""
        if self.folded or not self.layer.biased:
            return None
        self._biases = _grown(self._biases, blocks)
        return self._biases[:blocks]

    def begin(self, weights: _Floats, biases: _Floats, sites: int) -> None:
        """Weights (out, in) and biases (out,), if there are any, are those of every site."""
        whole = np.column_stack([weights, biases]) if self.folded else weights
        self.weights(sites)[:] = whole if self.layer.turned else np.ascontiguousarray(whole.T)
        apart = self.biases(sites)
        if apart is not None:
            apart[:] = biases

    def parts(self, blocks: int) -> tuple[_Floats, _Floats | None]:
        """The weights alone, (i, out, in), and the biases, (i, out), wherever they are."""
        whole, inputs = self.weights(blocks), self.layer.inputs
        upright = whole if self.layer.turned else whole.transpose(0, 2, 1)
        return upright[:, :, :inputs], upright[:, :, inputs] if self.folded else self.biases(blocks)


class Plain:
    """The weights of k sites, and their plain steps."""

    def __init__(self, layers: Sequence[Layer], loss: object) -> None:
        self._layers = [_Held(layer, first=number == 0) for number, layer in enumerate(layers)]
        self._loss, self._kept = loss, _Kept()
        self._sites, self._params = 0, torch.empty(0)

    def takes(self, training: Training, stack: Stack, params: Tensor) -> bool:
        """Whether it is for this optimizer, and for records and params of these kinds."""
        plain = (training.optimizer, training.momentum, training.proximal) == ("sgd", None, None)
        return plain and all(
            each.dtype is torch.float32 and not each.is_cuda for each in (stack.features, params)
        )

    def begin(self, params: Tensor, sites: int) -> None:
        """Every site at the flat params (d,)."""
        self._sites, self._params, flat = sites, params, params.numpy()
        for held in self._layers:
            layer, end = held.layer, held.layer.at + held.layer.size
            weights, biases = flat[layer.at : end], flat[end : end + layer.outputs]
            held.begin(weights.reshape(layer.outputs, layer.inputs), biases, sites)

    def step(self, stack: Stack, drawn: Drawn, rate: float, class_weights: Sequence[float] = ()) -> None:
        """One step of every site, along the mean over the records that were drawn for it."""
        blocks, width, records = len(drawn.padded) // drawn.width, drawn.width, self._records(stack)
        self._copy(drawn, blocks)
        rows = self._kept.array("records", len(drawn.padded), records.shape[1])
        np.take(records, drawn.padded, axis=0, out=rows, mode="clip")  # none is beyond
        whole = rows.reshape(blocks, width, -1)
        first = self._layers[0]
        inputs = first.layer.inputs + first.folded
        seen = [whole[:, :, :inputs]]
        with np.errstate(all="ignore"):  # as torch: what is not finite is seen to in the end
            self._forward(seen, blocks, width)
            back = self._slopes(seen.pop(), whole[:, :, inputs:], stack, drawn)
            back *= np.expand_dims(self._weighed(stack, drawn, rate, class_weights), self._classes)
            for number in range(len(self._layers) - 1, -1, -1):
                further = self._further(number, back, seen[number], blocks) if number > 0 else back
                self._move(number, back, seen[number], drawn)
                back = further

    def moved(self, out: Tensor) -> Tensor:
        """How far every site is from where it began, as rows of the flat form in `out` (k, d) float64."""
        for held in self._layers:
            weights, biases = held.parts(self._sites)
            layer, end = held.layer, held.layer.at + held.layer.size
            as_matrix(layer, out).copy_(torch.from_numpy(weights))
            if biases is not None:
                out[:, end : end + layer.outputs] = torch.from_numpy(biases)
        return out.sub_(self._params)

    def _copy(self, drawn: Drawn, blocks: int) -> None:
        """The weights of further blocks are copies of what their sites have now."""
        if blocks > self._sites:
            for held in self._layers:
                for whole in (held.weights(blocks), held.biases(blocks)):
                    if whole is not None:
                        whole[self._sites :] = whole[drawn.owners]

    def _forward(self, seen: list[_Floats], blocks: int, width: int) -> None:
        """Puts what each layer makes of its inputs behind them."""
        for number, held in enumerate(self._layers):
            layer, inputs = held.layer, seen[-1]
            shape = (layer.outputs, width) if layer.turned else (width, layer.outputs)
            outputs = self._kept.array(f"outputs {number}", blocks, *shape)
            if layer.turned:
                multiply(held.weights(blocks), inputs.transpose(0, 2, 1), outputs)
            else:
                multiply(inputs, held.weights(blocks), outputs)
            biases = held.biases(blocks)
            if biases is not None:
                outputs += biases[:, :, None] if layer.turned else biases[:, None]
            if layer.act is not None:
                ACTIVATIONS[layer.act][0](torch.from_numpy(outputs))
            seen.append(outputs)

    def _records(self, stack: Stack) -> _Floats:
        """A stack's records as the first layer sees them, and for few classes which is the record's own."""
        known: _Floats | None = stack.facts.get("plain")
        if known is None:
            layer, folded = self._layers[0].layer, self._layers[0].folded
            known = np.zeros((len(stack.features), layer.inputs + folded + self._few), np.float32)
            known[:, : layer.inputs] = stack.features.flatten(1).numpy()
            known[:, layer.inputs : layer.inputs + folded] = 1
            if self._few:
                own = stack.labels[:-1].numpy() + layer.inputs + folded
                known[np.arange(len(own)), own] = 1
            stack.facts["plain"] = known
        return known

    @property
    def _classes(self) -> int:
        """The axis of the last outputs."""
        return 1 if self._layers[-1].layer.turned else 2

    @property
    def _few(self) -> int:
        """How many classes have a column."""
        last = self._layers[-1].layer
        return 0 if isinstance(self._loss, Single) or not last.turned else last.outputs

    def _slopes(self, outputs: _Floats, own: _Floats, stack: Stack, drawn: Drawn) -> _Floats:
        """The derivatives of the losses in the last outputs."""
        axis, given = self._classes, torch.from_numpy(outputs)
        if isinstance(self._loss, Single):
            labels = stack.labels.index_select(0, torch.from_numpy(drawn.padded))
            each = labels.view(-1, drawn.width, *labels.shape[1:])
            slopes: _Floats = self._loss.slope(given.squeeze(axis), each).unsqueeze(axis).numpy()
            return slopes
        back: _Floats = torch.softmax(given, axis).numpy()
        if self._few:
            back -= own.transpose(0, 2, 1)
        else:
            back.reshape(-1)[drawn.places * outputs.shape[2] + stack.labels.numpy()[drawn.rows]] -= 1
        return back

    def _weighed(self, stack: Stack, drawn: Drawn, rate: float, class_weights: Sequence[float]) -> _Floats:
        """What each record weighs, times the rate, (i, b)."""
        weights: _Floats = drawn.weights * np.float32(rate)
        if class_weights:
            labels = stack.labels.index_select(0, torch.from_numpy(drawn.padded))
            weights *= weighed(labels, class_weights, torch.from_numpy(weights)).numpy()
        return weights.reshape(-1, drawn.width)

    def _further(self, number: int, back: _Floats, outputs: _Floats, blocks: int) -> _Floats:
        """What comes back to the outputs of the layer before, and through its activation."""
        weights, turned = self._layers[number].weights(blocks), self._layers[number].layer.turned
        further = self._kept.array(f"back {number}", *outputs.shape)
        if turned:
            multiply(back.transpose(0, 2, 1), weights, further)
        else:
            multiply(back, weights.transpose(0, 2, 1), further)
        act = self._layers[number - 1].layer.act
        if act is not None:
            ACTIVATIONS[act][1](torch.from_numpy(further), torch.from_numpy(outputs))
        return further

    def _move(self, number: int, back: _Floats, inputs: _Floats, drawn: Drawn) -> None:
        """A layer's weights and biases; what is found for copies of them is added to their sites' own."""
        held, blocks = self._layers[number], len(back)
        weights, biases, turned = held.weights(blocks), held.biases(blocks), held.layer.turned
        move = self._kept.array(f"move {number}", *weights.shape)
        if turned:
            multiply(back, inputs, move)
        else:
            multiply(inputs.transpose(0, 2, 1), back, move)
        self._subtract(weights, move, drawn)
        if biases is not None:
            sums: _Floats = torch.from_numpy(back).sum(2 if turned else 1).numpy()
            self._subtract(biases, sums, drawn)

    def _subtract(self, whole: _Floats, moves: _Floats, drawn: Drawn) -> None:
        own = moves[: self._sites]
        if len(moves) > self._sites:
            added = torch.from_numpy(moves[self._sites :])
            torch.from_numpy(own).index_add_(0, torch.from_numpy(drawn.owners), added)
        whole[: self._sites] -= own
