"""Chains of convolutions and linear layers at many sites: layers are batched products, autograd is between.

A convolution is a linear layer that sees a record once for each place of its output. So the gradient of a record in
it is one product of what it saw and what came back; it is as large as the layer, and measured as it is. What has no
weights, such as pooling, goes through torch as it is, for the records of all sites at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.training.known import is_known
from federation.model.task import Dataset, Task, cross_entropy
from privacy.mechanism.clipping import clip_factors, row_lengths
from simulations.cohort.layers import chain_of
from simulations.cohort.nets import Batch, Net, clipped_rows, joined, with_copies


@dataclass(frozen=True)
class _Layer:
    """A layer with weights: `at` is where they begin in the flat params."""

    module: nn.Conv2d | nn.Linear
    at: int
    weight: int  # in which place of `Net.weights`

    @property
    def outputs(self) -> int:
        return self.module.weight.shape[0]

    @property
    def inputs(self) -> int:
        return prod(self.module.weight.shape[1:])

    @property
    def size(self) -> int:
        return self.inputs * self.outputs

    @property
    def biased(self) -> bool:
        return self.module.bias is not None


@dataclass(frozen=True)
class _Passed:
    """What a layer saw of every record, (i b, places, inputs), and what came back, (i b, places, outputs)."""

    layer: _Layer
    seen: Tensor
    back: Tensor

    def measured(self) -> tuple[Tensor, Tensor | None]:
        """The length of every record's gradient in the layer, and its rows where they had to be made.

        A length whose squares vanish is far below any clipping norm; one that overflows is not finite.
        """
        back = self.back.sum(1)
        if (
            self.seen.shape[1] == 1
        ):  # an outer product, as long as its factors: with care, since they may be apart
            length = row_lengths(self.seen)
            if self.layer.biased:
                length = torch.hypot(length, torch.ones_like(length))
            return length * row_lengths(back), None
        rows = torch.bmm(self.seen.transpose(1, 2), self.back)
        length = torch.linalg.vector_norm(rows, dim=(1, 2))
        if self.layer.biased:
            length = torch.hypot(length, torch.linalg.vector_norm(back, dim=1))
        return length, rows

    def summed(self, factors: Tensor, rows: Tensor | None, bad: Tensor | None) -> Iterator[Tensor]:
        """The sums of every block's gradients times factors (i, b); `bad` records (i b,) are left out."""
        back, seen = self.back.sum(1), self.seen[:, 0]
        if bad is not None:  # 0 times NaN is NaN
            back, seen = (each.masked_fill(bad[:, None], 0.0) for each in (back, seen))
            rows = None if rows is None else rows.masked_fill(bad[:, None, None], 0.0)
        scaled = (back * factors.view(-1, 1)).view(*factors.shape, -1)
        if rows is None:
            yield torch.bmm(seen.view(*factors.shape, -1).transpose(1, 2), scaled)
        else:
            flat = rows.view(*factors.shape, -1)
            yield torch.bmm(factors.unsqueeze(1), flat).view(-1, *rows.shape[1:])
        if self.layer.biased:
            yield scaled.sum(1)

    def rows(self, part: slice | Tensor) -> Iterator[Tensor]:
        """The gradients of some records in its weights, and in its bias."""
        yield torch.bmm(self.seen[part].transpose(1, 2), self.back[part])
        if self.layer.biased:
            yield self.back[part].sum(1)


class Layered(Net):
    """A chain of torch's layers at k sites. TypeError for a model that is none, or has others with weights."""

    def __init__(self, task: Task, like: Dataset, dtype: torch.dtype) -> None:
        model = task.model().to(dtype).train()
        self._chain = list(chain_of(model))
        known = is_known(model) and len(set(self._chain)) == len(self._chain) and task.loss is cross_entropy
        if not known or not like.features.is_floating_point():
            raise TypeError("this is no chain of layers with cross entropy")
        self._layers: dict[nn.Module, _Layer] = {}
        at = weight = 0
        for module in self._chain:
            if isinstance(module, nn.Conv2d | nn.Linear):
                if isinstance(module, nn.Conv2d) and not _is_plain(module):
                    raise TypeError("this convolution is no plain one")
                self._layers[module] = _Layer(module, at, weight)
                weight += 1 + (module.bias is not None)
                at += sum(each.numel() for each in module.parameters())
            elif any(True for _ in module.parameters()):
                raise TypeError("another layer has weights")
        self.size, self.weights, self.start = at, [], []

    def begin(self, params: Tensor, sites: int) -> None:
        self.start = self.parts(params[None])
        self.weights = [part.expand(sites, *part.shape[1:]).clone() for part in self.start]

    def parts(self, rows: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for layer in self._layers.values():
            end = layer.at + layer.size
            whole = rows[:, layer.at : end].reshape(len(rows), layer.outputs, layer.inputs)
            found.append(whole.transpose(1, 2).contiguous())
            if layer.biased:
                found.append(rows[:, end : end + layer.outputs].contiguous())
        return found

    def rows(self, parts: Sequence[Tensor], out: Tensor) -> Tensor:
        for layer in self._layers.values():
            end = layer.at + layer.size
            place = out[:, layer.at : end].view(len(out), layer.outputs, layer.inputs)
            place.copy_(parts[layer.weight].transpose(1, 2))
            if layer.biased:
                out[:, end : end + layer.outputs] = parts[layer.weight + 1]
        return out

    def gradients(self, batch: Batch) -> list[Tensor]:
        found: list[Tensor] = []
        for one in self._passed(batch, weighted=True):
            seen, back = (each.reshape(len(batch.labels), -1, each.shape[2]) for each in (one.seen, one.back))
            found.append(torch.bmm(seen.transpose(1, 2), back))
            if one.layer.biased:
                found.append(back.sum(1))
        return joined(found, batch, len(self.weights[0]))

    def clipped(self, batch: Batch, norm: float, out: Tensor) -> Tensor:
        passed = self._passed(batch, weighted=False)
        if batch.units is not None:
            places, zeros = batch.places, batch.weights.new_zeros((len(self.weights[0]), self.size))

            def flat(part: slice) -> Tensor:
                own = places[part]
                return torch.cat([each.flatten(1) for one in passed for each in one.rows(own)], dim=1)

            return self.rows(self._split(clipped_rows(flat, batch, norm, zeros)), out)
        measured = [one.measured() for one in passed]
        lengths = torch.linalg.vector_norm(torch.stack([length for length, _ in measured]), dim=0)
        factors = clip_factors(lengths, norm, lengths.dtype) * batch.weights.flatten()  # 0 for what is padded
        bad = None if bool(torch.isfinite(lengths).all()) else ~torch.isfinite(lengths)
        found: list[Tensor] = []
        for one, (_, rows) in zip(passed, measured, strict=True):
            found += one.summed(factors.view(len(batch.labels), -1), rows, bad)
        return self.rows(joined(found, batch, len(self.weights[0])), out)

    def _split(self, rows: Tensor) -> list[Tensor]:
        """Rows whose weights lie as they do here, as parts."""
        sizes = [weight[0].numel() for weight in self.weights]
        pieces = zip(torch.split(rows, sizes, dim=1), self.weights, strict=True)
        return [piece.reshape(-1, *weight.shape[1:]) for piece, weight in pieces]

    def _passed(self, batch: Batch, *, weighted: bool) -> list[_Passed]:
        """One pass forward and one back."""
        blocks, records = len(batch.labels), batch.labels.numel()
        weights = with_copies(self.weights, batch)
        seen: list[Tensor] = []
        outputs: list[Tensor] = []
        values = batch.features.flatten(0, 1)
        for module in self._chain:
            layer = self._layers.get(module)
            if layer is None:
                values = module(values)
                continue
            vectors, shape = _vectors(layer.module, values)
            flat = vectors.reshape(blocks, -1, layer.inputs)
            found = _product(flat, weights[layer.weight : layer.weight + 1 + layer.biased])
            if not outputs:
                found.requires_grad_()
            seen.append(vectors)
            outputs.append(found)
            values = (
                found.view(records, -1, layer.outputs).transpose(1, 2).reshape(records, layer.outputs, *shape)
            )
        losses = cross_entropy(values, batch.labels.flatten())
        total = (losses * batch.weights.flatten()).sum() if weighted else losses.sum()
        backs = torch.autograd.grad(total, outputs)
        layers = zip(self._layers.values(), seen, backs, strict=True)
        return [
            _Passed(each, was.detach(), back.view(records, -1, each.outputs)) for each, was, back in layers
        ]


def _product(vectors: Tensor, weights: Sequence[Tensor]) -> Tensor:
    if len(weights) == 1:
        return torch.bmm(vectors, weights[0])
    return torch.baddbmm(weights[1].unsqueeze(1), vectors, weights[0])


def _vectors(module: nn.Conv2d | nn.Linear, values: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """What a layer sees of every record, (n, places, inputs), and the shape of its places."""
    if isinstance(module, nn.Linear):
        if values.dim() != 2:
            raise TypeError("a linear layer sees more than one vector of a record")
        return values.unsqueeze(1), ()
    if not isinstance(module.padding, tuple):
        raise TypeError("this convolution is no plain one")
    settings = zip(
        values.shape[2:], module.kernel_size, module.stride, module.padding, module.dilation, strict=True
    )
    shape = tuple(
        (side + 2 * pad - gap * (size - 1) - 1) // step + 1 for side, size, step, pad, gap in settings
    )
    if not values.requires_grad and module.dilation == (1, 1):  # one copy; its backward pass would be slow
        (high, wide), (down, right), pads = module.kernel_size, module.stride, module.padding
        framed = functional.pad(values, (pads[1], pads[1], pads[0], pads[0]))
        windows = framed.unfold(2, high, down).unfold(3, wide, right).permute(0, 2, 3, 1, 4, 5)
        return windows.reshape(len(values), prod(shape), -1), shape
    columns = functional.unfold(
        values,
        module.kernel_size,
        module.dilation,
        module.padding,
        module.stride,
    )
    return columns.transpose(1, 2), shape


def _is_plain(module: nn.Conv2d) -> bool:
    return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
