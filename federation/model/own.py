"""Layers that each site keeps for itself: they are trained in rounds, and never travel.

    [personal]
    layers = ["2"]
    kept = 34        # how many numbers they hold

To the federation the model is what is left: its vector, its file of params, its digests. Everybody has the other
layers as the plan's seed makes them. At a site its own training moves them, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor, nn

from federation.errors import TaskError
from federation.model.base import Kept, is_of
from federation.model.params import Layout
from federation.plan.personal import named
from federation.plan.plan import Plan

AS_BEGUN = "layers of its sites' own, which no round released: they are as the plan's seed began them"


def own_of(plan: Plan) -> tuple[str, ...]:
    """The layers that do not travel, by name."""
    return (plan.personal.layers or ()) if plan.personal is not None and plan.kept else ()


def of_all_layers(factory: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The factory of the same model, all of whose layers count as trained: what a site trains."""
    return replace(factory, own=()) if isinstance(factory, Kept) and factory.own else factory


def require_kept(plan: Plan, model: nn.Module) -> None:
    """TaskError unless the layers that sites keep hold as many numbers as the plan says, and others travel."""
    if not (layers := own_of(plan)):
        return
    parts = Parts.of(model, layers)
    if parts.kept != plan.kept:
        hint = f"write kept = {parts.kept}"
        reason = f"there are {parts.kept} numbers in {named(layers)}"
        raise TaskError(reason, hint=hint, key="personal.kept", value=str(plan.kept))
    if parts.kept == sum(parts.sizes):
        reason = "all layers are kept, and nothing is left to learn together"
        raise TaskError(reason, hint="leave one out, or remove kept", key="personal.layers")


@dataclass(frozen=True)
class Parts:
    """Which of a model's params travel and which a site keeps: the sizes of its tensors, in the model's order."""

    sizes: tuple[int, ...]
    is_own: tuple[bool, ...]

    @classmethod
    def of(cls, model: nn.Module, layers: tuple[str, ...]) -> Parts:
        """Those of a model whose layers all count as trained; TaskError if it cannot be trained."""
        layout = Layout.of(model)
        own = tuple(any(is_of(name, layer) for layer in layers) for name in layout.names)
        return cls(tuple(map(prod, layout.shapes)), own)

    @classmethod
    def of_factory(cls, factory: Callable[[], nn.Module]) -> Parts:
        """Those of what a task makes; without layers that sites keep, all travels."""
        own = factory.own if isinstance(factory, Kept) else ()
        return cls.of(of_all_layers(factory)(), own)

    @property
    def kept(self) -> int:
        """How many numbers a site keeps."""
        return sum(size for size, own in zip(self.sizes, self.is_own, strict=True) if own)

    def united(self, shared: Tensor, own: Tensor) -> Tensor:
        """The params of the whole model (d,), in the type of `shared`."""
        if shared.shape != (sum(self.sizes) - self.kept,) or own.shape != (self.kept,):
            raise TaskError("the layers that the site kept are of another model", hint="remove their file")
        sizes = [
            [size for size, mine in zip(self.sizes, self.is_own, strict=True) if mine is wanted]
            for wanted in (False, True)
        ]
        left = iter(torch.split(shared, sizes[0])), iter(torch.split(own.to(shared.dtype), sizes[1]))
        return torch.cat([next(left[mine]) for mine in self.is_own])

    def parted(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """What travels of (d,) numbers of the whole model, and what a site keeps."""
        pieces = torch.split(params, list(self.sizes))
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for piece, mine in zip(pieces, self.is_own, strict=True):
            found[mine].append(piece)
        return torch.cat(found[0]), torch.cat(found[1]) if found[1] else params[:0]


def begun_own(factory: Callable[[], nn.Module]) -> Tensor:
    """A site's own layers before its first round (k,), float32, as the plan's seed makes them."""
    model = of_all_layers(factory)()
    return Parts.of_factory(factory).parted(Layout.of(model).flatten(model))[1]
