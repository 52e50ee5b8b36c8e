"""Adapts a model so that it can be trained privately, and lists what is different.

    from clients.training.adapt import adapted

    def readmission() -> nn.Module:
        found = adapted(resnet18(num_classes=2))
        print(*found.changes, sep="\\n")
        return found.module

BatchNorm computes its mean and variance over the records of a batch, and keeps running ones in buffers that would
leave the site beside the params. It becomes GroupNorm (Wu and He 2018), which computes them for each record over a
group of channels. The number of groups matters: a group of one feature subtracts that feature from itself and puts
out zeros, and one of two puts out signs; groups have at least GROUP features here, and a layer of fewer is one
group. InstanceNorm with running statistics goes without them. GRU, LSTM and RNN are single operations that no
per-record formula sees into; they become Opacus's, which are made of linear layers and compute the same, more
slowly. So does MultiheadAttention. Opacus 1.6 joins its heads in the wrong order when the batch comes first, which
we correct.

Weights are copied. The model that was handed in stays as it was.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from opacus.layers import DPGRU, DPLSTM, DPRNN, DPMultiheadAttention
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.parameter import is_lazy

from federation.errors import TaskError

GROUP = 8  # features in a group, at least: fewer make a norm that forgets all but signs
_FEWEST = 4  # features at least where a norm may average over nothing but features
_MOST_GROUPS = 32  # as in the paper


@dataclass(frozen=True)
class Change:
    """One layer that was replaced. `path` is its name in the model, empty for the model itself."""

    path: str
    before: str
    after: str
    note: str

    def __str__(self) -> str:
        return f"{self.path or 'the model'}: {self.before} -> {self.after}; {self.note}"


@dataclass(frozen=True)
class Adapted:
    """A model ready for private training, and every change from the original."""

    module: nn.Module = field(repr=False)
    changes: tuple[Change, ...]


def adapted(model: nn.Module) -> Adapted:
    """A copy of `model` in which every layer that mixes records or hides their gradients is replaced.

    TaskError, with the path, for a layer that cannot be: too few features for a norm, a projected LSTM. Also for a
    model with lazy layers, which have no shapes yet.
    """
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise TaskError("the model has parameters without a shape", hint="do not use lazy modules")
    module = copy.deepcopy(model)
    changes = []
    done: dict[nn.Module, nn.Module] = {}  # one layer at two places stays one layer
    for path, part in list(module.named_modules(remove_duplicate=False)):
        replace = _replacement(part)
        if replace is None:
            continue
        if part not in done:
            new, note = replace(part, path)
            done[part] = new.train(part.training).to(_dtype(part))
            changes.append(Change(path, _name(part), _name(new), note))
        if not path:
            module = done[part]
        else:
            module.set_submodule(path, done[part])
    return Adapted(module, tuple(changes))


_Replace = Callable[[nn.Module, str], tuple[nn.Module, str]]


def _replacement(part: nn.Module) -> _Replace | None:
    if isinstance(part, _BatchNorm):
        return _group_norm
    if isinstance(part, _InstanceNorm) and part.track_running_stats:
        return _instance_norm
    if type(part) in (nn.GRU, nn.LSTM, nn.RNN):
        return _recurrent
    if type(part) is nn.MultiheadAttention:
        return _attention
    return None


def _group_norm(part: Any, path: str) -> tuple[nn.Module, str]:
    features = part.num_features
    # A layer that may see nothing but features, without any positions, has only them to average over.
    fewest = 1 if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d) else _FEWEST
    if features < fewest:
        message = (
            f'{type(part).__name__} at "{path}" has {features} features, too few for statistics of one record'
        )
        raise TaskError(message, hint="remove it")
    most = max(1, min(_MOST_GROUPS, features // GROUP))
    groups = next(count for count in range(most, 0, -1) if features % count == 0)
    new = nn.GroupNorm(groups, features, eps=part.eps, affine=part.affine)
    _copy_affine(part, new)
    return new, (
        f"mean and variance are now those of one record over {features // groups} features, in training and in "
        "use; running statistics are gone; tune the learning rate again"
    )


def _instance_norm(part: Any, _: str) -> tuple[nn.Module, str]:
    # The same by groups of one feature each; unlike torch's own it takes no record, too.
    new = nn.GroupNorm(part.num_features, part.num_features, eps=part.eps, affine=part.affine)
    _copy_affine(part, new)
    return new, "computes in training what it did before; in use it no longer knows running statistics"


def _recurrent(part: Any, path: str) -> tuple[nn.Module, str]:
    if part.proj_size:
        message = f'{type(part).__name__} at "{path}" has projections'
        raise TaskError(message, hint="use a linear layer after it")
    kinds = {nn.GRU: DPGRU, nn.LSTM: DPLSTM, nn.RNN: DPRNN}
    names = "num_layers", "bias", "batch_first", "dropout", "bidirectional"
    shape = {name: getattr(part, name) for name in names}
    if type(part) is nn.RNN:
        shape["nonlinearity"] = part.nonlinearity
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of dropout in a single layer, which torch gave already
        new = kinds[type(part)](part.input_size, part.hidden_size, **shape)
    new.load_state_dict(part.state_dict())
    note = "the same outputs, several times slower"
    if part.dropout:
        note += "; dropout now also acts inside the recurrence and after the last layer"
    return new, note


def _attention(part: Any, _: str) -> tuple[nn.Module, str]:
    new = _Attention(
        part.embed_dim,
        part.num_heads,
        dropout=part.dropout,
        bias=part.in_proj_bias is not None,
        add_bias_kv=part.bias_k is not None,
        add_zero_attn=part.add_zero_attn,
        kdim=part.kdim,
        vdim=part.vdim,
        batch_first=part.batch_first,
    )
    new.load_state_dict(dict(part.state_dict()))
    note = "the same outputs; a causal flag is refused"
    if part.batch_first:
        new.out_proj = nn.Sequential(_HeadsInOrder(part.num_heads), new.out_proj)
        note += ", and so is an attention mask"
    return new, note


class _Attention(DPMultiheadAttention):  # type: ignore[misc]
    """Opacus's, which cannot take an empty batch: no record, no answer."""

    def forward(self, query: Tensor, *others: Any, **settings: Any) -> tuple[Tensor, Tensor | None]:
        if query.shape[0 if self.batch_first else 1] == 0:
            return query.new_zeros(query.shape), None
        found: tuple[Tensor, Tensor | None] = super().forward(query, *others, **settings)
        return found


class _HeadsInOrder(nn.Module):
    """Reorders what DPMultiheadAttention passes on when the batch comes first: (batch, head, position)."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, mixed: Tensor) -> Tensor:
        batch, length, width = mixed.shape
        heads = mixed.reshape(batch, self.heads, length, width // self.heads)
        return heads.transpose(1, 2).reshape(mixed.shape)


def _copy_affine(part: Any, new: nn.Module) -> None:
    """Scale and shift, and whether they are trained."""
    if part.affine:
        with torch.no_grad():
            for name in ("weight", "bias"):
                source, target = getattr(part, name), getattr(new, name)
                target.copy_(source)
                target.requires_grad_(source.requires_grad)


def _dtype(part: nn.Module) -> torch.dtype:
    return next((tensor.dtype for tensor in part.parameters()), torch.get_default_dtype())


def _name(part: nn.Module) -> str:
    return repr(part) if not list(part.children()) else type(part).__name__
