"""Models that are chains of torch's layers."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def chain_of(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested `nn.Sequential`, one after the other."""
    if type(model) is not nn.Sequential:
        yield model
        return
    for part in model:
        yield from chain_of(part)
