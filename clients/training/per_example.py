"""The gradient of every record: layer by layer, by its norm alone, by torch.func, or one record after the other.

    hooks      forward hooks record every layer's input and output; one backward pass gives the gradient of the
               loss with respect to the output; from both, Opacus's formula for the layer gives the gradient of
               every record in its parameters.
    ghost      the same hooks. The gradient of a linear layer is an outer product, so its norm is known without
               making it, and the clipped sum is one matrix product (Goodfellow 2015, "Efficient per-example
               gradient computations"; from the same pass: Bu et al. 2023, "book-keeping").
    functorch  `vmap` over `grad` of one record: any model that torch can vectorize, and right by construction,
               since every record is a batch of its own.
    alone      the definition of what a record contributes: its gradient as a batch of one, in a copy of the model.
               For code whose path follows the values of records, such as an assertion: nothing that it does for one
               record, to the model or to itself, can reach another.

Why not Opacus's own hooks: they store what they record on modules and parameters, where an exception leaves
it behind. Here a hook only appends to a list of one call; when the list goes, all is gone.

Why not Opacus's ghost clipping: it runs the model's backward pass twice and needs the second to repeat the first,
and it takes norms of sequences from a Gram matrix, |sum_t b_t a_t'|^2 = sum_ts (b_t.b_s)(a_t.a_s). Where the terms
cancel, float64 loses that norm: a record with entries of 1e9 can seem short, be left unclipped, and move the sum
by many clipping norms. Here a norm is taken by formula only where it is a product, of one vector a record; in
every other layer the very row that is measured is the row that is summed.

We trust no route to fit a model: `clients.training.dpsgd` tries each on made-up records first.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from clients.training.frozen import Guard, type_of
from clients.training.known import each
from clients.training.precision import mixed
from federation.errors import TaskError
from federation.model.base import shared, structure, trained
from federation.model.task import weighed
from privacy.mechanism.clipping import clip_factors, row_lengths

Loss = Callable[[Tensor, Tensor], Tensor]
PerRecord = Callable[[Tensor, Tensor], list[Tensor]]  # features, labels (n, ...) -> by parameter (n, *shape)
ClippedSum = Callable[[Tensor, Tensor], Tensor]  # features, labels -> sum of clipped gradients, flat (d,)


_ITEM = 8  # bytes of a number: rows are in float64


class Unsupported(Exception):
    """This route does not know how to take the model apart; another may."""


@dataclass(frozen=True)
class _Note:
    """One call of a layer: its inputs, and the gradient of the loss with respect to its output."""

    layer: nn.Module
    inputs: tuple[Tensor, ...]
    backprop: Tensor


_Formula = Callable[[nn.Module, tuple[Tensor, ...], Tensor], dict[nn.Parameter, Tensor]]


def _formula(layer: nn.Module) -> _Formula | None:
    """The gradient of every record in a layer's parameters; None if nobody knows it.

    That of a linear layer, which all built-in models are made of, is written here. For all others Opacus has it,
    and is imported late: it takes 70 MB, and a site that trains no such layer need not carry them.
    """
    if type(layer) is nn.Linear:
        return _linear
    if type(layer) is nn.Embedding:
        return _embedding
    from opacus.grad_sample import GradSampleModule

    found: _Formula | None = GradSampleModule.GRAD_SAMPLERS.get(type(layer))
    return found


def _linear(layer: nn.Module, inputs: tuple[Tensor, ...], back: Tensor) -> dict[nn.Parameter, Tensor]:
    """An outer product for each vector that a record has in it, added up over the vectors."""
    found = {layer.weight: torch.einsum("n...i,n...j->nij", back, inputs[0].to(back.dtype))}
    if layer.bias is not None:
        found[layer.bias] = torch.einsum("n...k->nk", back)
    return found  # type: ignore[return-value]


def _embedding(layer: nn.Module, inputs: tuple[Tensor, ...], back: Tensor) -> dict[nn.Parameter, Tensor]:
    """Opacus's, without the row of the word that pads: autograd gives it no gradient."""
    from opacus.grad_sample import GradSampleModule

    found: dict[nn.Parameter, Tensor] = GradSampleModule.GRAD_SAMPLERS[nn.Embedding](layer, inputs, back)
    pads = layer.padding_idx
    if isinstance(pads, int):
        for rows in found.values():
            rows[:, pads] = 0
    return found


def losses_of(model: Callable[[Tensor], Tensor], loss: Loss, features: Tensor, labels: Tensor) -> Tensor:
    """The loss of every record, (n,). TaskError if `loss` returns anything else, such as a mean."""
    with mixed():
        losses = loss(model(features), labels)
    if not isinstance(losses, Tensor) or losses.shape != labels.shape[:1]:
        raise TaskError("the loss is not one number per record", hint='use reduction="none"')
    return losses


@contextmanager
def hooks(model: nn.Module, loss: Loss) -> Iterator[PerRecord]:
    """Within the context: the gradients of all records, by Opacus's formulas."""
    with _watched(model, loss) as watch:

        def per_record(features: Tensor, labels: Tensor) -> list[Tensor]:
            found = _rows(watch(features, labels), len(labels))
            return [_found(found, parameter, len(labels)) for parameter in trained(model).values()]

        yield per_record


@contextmanager
def functorch(model: nn.Module, loss: Loss) -> Iterator[PerRecord]:
    """Within the context: the gradients of all records, each computed by itself.

    Every batch has a copy of what the model keeps beside tensors, so that nothing which code sets there is seen by
    the next.
    """

    def per_record(features: Tensor, labels: Tensor) -> list[Tensor]:
        fresh = structure(model)

        def of_one(params: dict[str, Tensor], features: Tensor, label: Tensor) -> Tensor:
            def alone(batch: Tensor) -> Tensor:
                outputs: Tensor = functional_call(fresh, params, (batch,))
                return outputs

            return losses_of(alone, loss, features[None], label[None]).sum()

        each = vmap(grad(of_one), in_dims=(None, 0, 0), randomness="different")
        params = {name: parameter.detach() for name, parameter in trained(model).items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")  # but it is computed
            return list(each(params, features, labels).values())

    yield per_record


def one_of(model: nn.Module, loss: Loss) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """The gradients of one record, of each trained tensor, in the model's own type: see `alone`."""
    guard = Guard(model)

    def of_one(features: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        with guard.unmoved():
            fresh = shared(model)
            found = losses_of(fresh, loss, features.clone(), labels.clone())
            return torch.autograd.grad(found.sum(), list(trained(fresh).values()), materialize_grads=True)

    return of_one


@contextmanager
def alone(model: nn.Module, loss: Loss) -> Iterator[PerRecord]:
    """Within the context: the gradients of all records, by one backward pass for each, in float64.

    Every record has a copy of the model. A base is large, and shared: a record on which the code writes into it is
    refused, and the base is as before.
    """
    of_one = one_of(model, loss)

    def per_record(features: Tensor, labels: Tensor) -> list[Tensor]:
        pairs = zip(torch.split(features, 1), torch.split(labels, 1), strict=True)
        found = zip(*(of_one(*pair) for pair in pairs), strict=True)
        return [torch.stack(rows).to(torch.float64) for rows in found]

    yield per_record


@contextmanager
def ghost(
    model: nn.Module, loss: Loss, clipping_norm: float, class_weights: Sequence[float] = ()
) -> Iterator[ClippedSum]:
    """Within the context: the clipped sum, for which no gradient of a record in a linear layer is made."""
    inside = [p for part in model.modules() if _is_outer(part) for p in part.parameters()]
    if len(set(inside)) < len(inside):
        raise Unsupported("linear layers share a parameter")
    with _watched(model, loss) as watch:

        def clipped(features: Tensor, labels: Tensor) -> Tensor:
            notes = watch(features, labels)
            outer = [note for note in notes if _is_outer(note.layer)]
            rows = _rows([note for note in notes if not _is_outer(note.layer)], len(labels))
            _check_outer(outer, rows)
            lengths = _length([*(_outer_length(note) for note in outer), *map(row_lengths, rows.values())])
            factors, kept = clip_factors(lengths, clipping_norm, type_of(model)), torch.isfinite(lengths)
            factors = factors * weighed(
                labels, class_weights, factors
            )  # none above 1: no longer than the norm
            sums = {parameter: weighted(row, factors, kept) for parameter, row in rows.items()}
            for note in outer:
                sums |= _outer_sum(note, factors, kept)
            flat = [sums.get(p, torch.zeros_like(p)).reshape(-1) for p in trained(model).values()]
            return torch.cat(flat).detach()

        yield clipped


def ghost_bytes(model: nn.Module) -> int:
    """What `ghost` keeps of one record beside activations: rows outside of linear layers, two vectors in them."""
    linear = [part for part in model.modules() if _is_outer(part)]
    inside = sum(p.numel() for part in linear for p in part.parameters())
    vectors = sum(part.in_features + part.out_features for part in linear)
    return (_size(model) - inside + vectors) * _ITEM


def row_bytes(model: nn.Module) -> int:
    """The gradient of one record in every parameter that is trained."""
    return _size(model) * _ITEM


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in trained(model).values())


def _is_outer(part: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether the gradient of a record is an outer product: in a linear layer that is trained as a whole."""
    return type(part) is nn.Linear and all(parameter.requires_grad for parameter in part.parameters())


def weighted(rows: Tensor, factors: Tensor, kept: Tensor) -> Tensor:
    """The sum (...) of rows (n, ...) times factors (n,). Rows not kept are left out: 0 times NaN is NaN."""
    flat = rows.flatten(1)
    if not bool(kept.all()):
        flat, factors = flat[kept], factors[kept]
    return (factors @ flat).view(rows.shape[1:])


@contextmanager
def _watched(model: nn.Module, loss: Loss) -> Iterator[Callable[[Tensor, Tensor], list[_Note]]]:
    """Within the context: one pass through the model, recorded at every layer with parameters of its own."""
    calls: list[tuple[nn.Module, tuple[Tensor, ...], Tensor]] = []
    versions: list[tuple[int, ...]] = []
    handles, by_itself = [], each(loss)

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((layer, inputs, output))
        versions.append(_versions(inputs, output))

    def watch(features: Tensor, labels: Tensor) -> list[_Note]:
        calls.clear()
        versions.clear()
        try:
            total = losses_of(model, by_itself, features, labels).sum()
            # What a layer gave is no longer there, and made-up values may not show it: clamped, they are as before.
            if versions != [_versions(inputs, output) for _, inputs, output in calls]:
                raise Unsupported("what a layer sees or gives is changed in place")
            outputs = [output for _, _, output in calls]
            backprops = torch.autograd.grad(total, outputs, materialize_grads=True)
            seen = zip(calls, backprops, strict=True)
            return [_Note(layer, inputs, backprop) for (layer, inputs, _), backprop in seen]
        finally:
            calls.clear()  # records live in it

    try:
        for part in model.modules():
            if _own(part):
                if _formula(part) is None:
                    raise Unsupported(f"Opacus has no formula for {type(part).__name__}")
                handles.append(part.register_forward_hook(note))
        yield watch
    finally:
        for handle in handles:
            handle.remove()


def _versions(inputs: tuple[Tensor, ...], output: Tensor) -> tuple[int, ...]:
    """How often torch saw each of these written into; an attention of Opacus also passes on what is no tensor."""
    return tuple(each._version for each in (*inputs, output) if isinstance(each, Tensor))


def _own(part: nn.Module) -> set[nn.Parameter]:
    """What is trained of a layer's own parameters. Opacus's recurrent layers list their cells', too."""
    inner = {parameter for child in part.children() for parameter in child.parameters()}
    return {each for each in part.parameters(recurse=False) if each.requires_grad} - inner


@torch.no_grad()
def _rows(notes: list[_Note], records: int) -> dict[nn.Parameter, Tensor]:
    """Gradients of all records by parameter, added up where a layer is called twice or a parameter is shared."""
    found: dict[nn.Parameter, Tensor] = {}
    for note in _gathered(notes, records):
        formula = _formula(note.layer)
        if formula is None:
            raise Unsupported("a layer without a formula")
        for parameter, rows in formula(note.layer, note.inputs, note.backprop).items():
            if not parameter.requires_grad:
                continue
            if rows.shape != (records, *parameter.shape):
                raise Unsupported("the first dimension of a layer's input is not the record")
            # Never in place: what autograd returned may be one tensor under two names.
            found[parameter] = found[parameter] + rows if parameter in found else rows
    return found


def _gathered(notes: list[_Note], records: int) -> Iterator[_Note]:
    """The notes, those of a linear layer that is called again and again, as in a recurrence, as one call.

    A record's gradient in it is a sum of outer products, one for each call: one product of matrices adds them up.
    """
    calls: dict[nn.Module, list[_Note]] = {}
    for note in notes:
        calls.setdefault(note.layer, []).append(note)
    for layer, own in calls.items():
        if (
            len(own) == 1
            or type(layer) is not nn.Linear
            or any(len(note.backprop) != records for note in own)
        ):
            yield from own
            continue
        inputs = torch.cat([note.inputs[0].reshape(records, -1, layer.in_features) for note in own], dim=1)
        backs = torch.cat([note.backprop.reshape(records, -1, layer.out_features) for note in own], dim=1)
        yield _Note(layer, (inputs,), backs)


def _found(found: dict[nn.Parameter, Tensor], parameter: nn.Parameter, records: int) -> Tensor:
    rows = found.get(parameter)
    return parameter.new_zeros((records, *parameter.shape)) if rows is None else rows


def _check_outer(outer: list[_Note], rows: dict[nn.Parameter, Tensor]) -> None:
    """A norm is a product only for one vector a record, in a layer called once, with parameters of its own."""
    calls = Counter(note.layer for note in outer)
    if any(note.backprop.dim() != 2 or calls[note.layer] > 1 for note in outer):
        raise Unsupported("a linear layer sees more than one vector of a record")
    if any(parameter in rows for note in outer for parameter in note.layer.parameters()):
        raise Unsupported("a linear layer shares a parameter")


def _outer_length(note: _Note) -> Tensor:
    """|b a'| = |b| |a|, and with a bias |b| sqrt(|a|^2 + 1)."""
    seen = row_lengths(note.inputs[0].detach())
    if note.layer.bias is not None:
        seen = torch.hypot(seen, torch.ones_like(seen))
    return row_lengths(note.backprop) * seen


def _outer_sum(note: _Note, factors: Tensor, kept: Tensor) -> dict[nn.Parameter, Tensor]:
    seen, back = note.inputs[0].detach(), note.backprop
    if not bool(kept.all()):
        seen, back, factors = seen[kept], back[kept], factors[kept]
    back = back * factors[:, None]
    layer = note.layer
    sums = {layer.weight: back.T @ seen}
    if layer.bias is not None:
        sums[layer.bias] = back.sum(dim=0)
    return sums  # type: ignore[return-value]


def _length(parts: list[Tensor]) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(torch.stack(parts), dim=0)
    return lengths
