"""The base of a model: frozen parameters and buffers, which nobody sends, and the digest that a plan pins them by.

    [base]
    digest = "sha256:..."                    # federation check PLAN prints it
    trained_on = "English web pages, 2021"   # free text: epsilon says nothing about the people in it

Every party makes the base itself, from the task's own code. Were it different at one site, the sum would be of
gradients of different models, and what a site adds would depend on more than the plan says. So whoever makes
another base takes no part, and is told before anything is charged.

A model is made once for a plan, and copied for each use: no copy that has seen records is used twice.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from federation.errors import OtherBase, TaskError
from federation.plan.plan import Plan
from privacy.wire import Writer, digest

_LABEL: Final = "federation/base/1"
_OWN: Final = "_layers_of_its_own"
_WHAT_TO_WRITE = 'under [base] of the plan: digest = "{}", and trained_on = "..." in words'


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name, in the model's order: all that travels.

    Layers that a site keeps for itself do not, unless the model is `whole`.
    """
    own = own_layers(module)
    return {
        name: each
        for name, each in module.named_parameters()
        if each.requires_grad and not any(is_of(name, layer) for layer in own)
    }


def own_layers(module: nn.Module) -> tuple[str, ...]:
    """The layers that sites keep for themselves, by name (`federation.model.own`); empty where all travel."""
    found: tuple[str, ...] = vars(module).get(_OWN, ())
    return found


def marked(module: nn.Module, layers: tuple[str, ...]) -> nn.Module:
    """The model itself, of which these layers do not travel."""
    if layers:
        setattr(module, _OWN, layers)
    return module


def require_layers(module: nn.Module, layers: Sequence[str]) -> None:
    """TaskError for a layer of `personal.layers` that the model does not train, before anybody approves it."""
    named = trained(module)
    for layer in layers:
        if not any(is_of(name, layer) for name in named):
            hint = f"name one of: {', '.join(sorted({name.rpartition('.')[0] or name for name in named}))}"
            raise TaskError(f'the model trains no layer "{layer}"', hint=hint, key="personal.layers")


def is_of(name: str, layer: str) -> bool:
    """Whether a parameter belongs to a layer, or is it."""
    return name == layer or name.startswith(f"{layer}.")


def base_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The frozen parameters and the buffers, by name: what is pinned, and never sent."""
    frozen = {name: each for name, each in module.named_parameters() if not each.requires_grad}
    return {**frozen, **dict(module.named_buffers())}


def has_base(module: nn.Module) -> bool:
    """Whether anything of a model is pinned."""
    return bool(base_tensors(module))


def base_digest(module: nn.Module) -> str:
    """The digest of all frozen parameters and buffers: of each its name, type of number, shape and bytes.

    TaskError for a tensor without bytes of its own, such as a sparse one.
    """
    listed = Writer()
    for name, tensor in sorted(base_tensors(module).items()):
        _require_plain(name, tensor)
        listed.text(name).text(str(tensor.dtype).removeprefix("torch.")).u32(tensor.dim())
        for length in tensor.shape:
            listed.u64(length)
        listed.fixed(hashlib.sha256(bytes_of(tensor).numpy().data).digest())
    return f"sha256:{digest(_LABEL, listed.finish()).hex()}"


def bytes_of(tensor: Tensor) -> Tensor:
    """A tensor's bytes in order (n,), uint8, on the CPU; a view where that is possible."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def in_training(module: nn.Module) -> nn.Module:
    """The model in training mode; one with a base stays in the modes that its factory left it in.

    So a frozen part in evaluation mode, as `from_pretrained` returns it, draws no dropout and moves no statistics,
    while the dropout of an adapter around it does its work.
    """
    return module if has_base(module) else module.train()


def require_base(plan: Plan, name: str, module: nn.Module) -> None:
    """OtherBase unless the model's base is the one that the plan pins, and pinned if there is any."""
    pinned = None if plan.base is None else plan.base.digest
    if not has_base(module):
        if pinned is not None:
            reason = f"{name}: the plan pins a base, and nothing of the model is frozen"
            raise OtherBase(reason, hint="remove [base]", key="base")
        return
    found = base_digest(module)
    if pinned is None:
        reason = f"{name}: the model has frozen parameters or buffers, and the plan does not pin them"
        raise OtherBase(reason, hint=f"write {_WHAT_TO_WRITE.format(found)}", key="base")
    if found != pinned:
        hint = "have the same files, and versions, as those the plan was made with; a base must not be drawn"
        reason = f"{name}: the base here is {found}, the plan pins {pinned}"
        raise OtherBase(reason, hint=hint, key="base.digest")


@dataclass(frozen=True)
class Kept:
    """A factory that was called once, with a plan's seed, and whose model every call copies.

    To load a large base takes seconds. No copy is ever made of a model that has seen records. `own` are the layers
    that do not travel: each copy has them as the plan's seed makes them.
    """

    factory: Callable[[], nn.Module]
    seed: int
    module: nn.Module = field(repr=False)
    own: tuple[str, ...] = ()

    def __call__(self) -> nn.Module:
        return marked(copy.deepcopy(self.module), self.own)

    def begun(self, seed: int) -> nn.Module:
        """The model as the factory makes it with this seed."""
        return self() if seed == self.seed else marked(self.factory(), self.own)


def shared(module: nn.Module) -> nn.Module:
    """A copy of a model that uses the same base, where a copy of its own would take too long."""
    base: Mapping[int, Tensor] = {id(each): each for each in base_tensors(module).values()}
    return copy.deepcopy(module, dict(base))


def structure(module: nn.Module) -> nn.Module:
    """A copy of a model's parts and of what they keep beside tensors; parameters and buffers are the model's own.

    For code that runs with other parameters put in: what it sets on itself is set on the copy. So is what
    `torch.func.functional_call` leaves behind in a model that has one layer at two places.
    """
    named = (*module.named_parameters(), *module.named_buffers())
    return copy.deepcopy(module, {id(tensor): tensor for _, tensor in named})


def check_apart(module: nn.Module) -> None:
    """TaskError if two trained parameters lie in the same memory: each would be noised and moved by itself."""
    taken: dict[int, list[tuple[int, int, str]]] = {}
    for name, each in trained(module).items():
        if each.numel() == 0:
            continue
        begins = each.data_ptr()
        last = sum((n - 1) * step for n, step in zip(each.shape, each.stride(), strict=True))
        ends = begins + each.element_size() * (last + 1)
        beside = taken.setdefault(each.untyped_storage().data_ptr(), [])
        if other := next((other for low, high, other in beside if low < ends and begins < high), None):
            hint = "tie them by making them one: let both layers have the same parameter, not the same data"
            raise TaskError(f'"{name}" shares its memory with "{other}", and both are trained', hint=hint)
        beside.append((begins, ends, name))


def check_base(module: nn.Module) -> None:
    """TaskError unless the base is fit to be pinned: plain tensors that no trained parameter shares."""
    moved = {each.untyped_storage().data_ptr(): name for name, each in trained(module).items()}
    for name, tensor in base_tensors(module).items():
        _require_plain(name, tensor)
        if tensor.numel() and (other := moved.get(tensor.untyped_storage().data_ptr())) is not None:
            hint = "freeze both, or register a copy"
            raise TaskError(f'"{name}" shares its memory with "{other}", which is trained', hint=hint)


def _require_plain(name: str, tensor: Tensor) -> None:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_inference():
        hint = "load it as a plain tensor, outside of torch.inference_mode"
        raise TaskError(f'"{name}" is frozen and has no bytes that could be pinned', hint=hint)
