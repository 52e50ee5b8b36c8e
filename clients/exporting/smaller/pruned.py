"""The smallest weights of a model set to 0: by magnitude, over all layers together. It costs no epsilon."""

from __future__ import annotations

import torch
from torch import nn

from clients.exporting.schema import Json


@torch.no_grad()
def prune(module: nn.Module, share: float) -> Json:
    """Set this share of the weights to 0, in place; biases and other vectors stay. Says what was done."""
    weights = [parameter for parameter in module.parameters() if parameter.dim() > 1]
    sizes = torch.cat([weight.abs().reshape(-1) for weight in weights]) if weights else torch.zeros(0)
    many = round(share * len(sizes))
    keep = torch.ones(len(sizes), dtype=torch.bool)
    keep[torch.argsort(sizes, stable=True)[:many]] = False
    parts = torch.split(keep, [weight.numel() for weight in weights])
    for weight, kept in zip(weights, parts, strict=True):
        weight.mul_(kept.reshape(weight.shape))
    return {"what": "pruned", "how": "magnitude, over all weights together", "zeros": many, "of": len(sizes)}
