"""Constants of a task's own code are in float32, and private gradients are computed in float64.

`cross_entropy(outputs, labels, weight=torch.tensor([1.0, 3.0]))` is right, and torch refuses it where the outputs
are float64. Within `mixed`, an operation of torch that refuses two kinds of floats is done again with all of
them in float64. Nothing else changes: what runs without it runs as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class mixed(TorchFunctionMode):  # noqa: N801 - a context, like torch.no_grad
    """Within the context float32 and float64 go together."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        try:
            return func(*args, **named)
        except RuntimeError:
            if {torch.float32, torch.float64} - {_kind(each) for each in (*args, *named.values())}:
                raise
        return func(*map(_wide, args), **{name: _wide(value) for name, value in named.items()})


def _kind(value: object) -> torch.dtype | None:
    return value.dtype if isinstance(value, Tensor) else None


def _wide(value: Any) -> Any:
    return value.to(torch.float64) if _kind(value) == torch.float32 else value
