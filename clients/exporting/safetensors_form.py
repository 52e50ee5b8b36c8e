"""A `.safetensors` file: every tensor of the model by its name. The architecture is not in it."""

from __future__ import annotations

from safetensors.torch import save
from torch import Tensor, nn

from clients.exporting.forms import Exported


def safetensors_bytes(model: Exported) -> bytes:
    """The file."""
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors_of(model.module).items()}
    return save(tensors, {**model.stated.texts, "format": "pt"})


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Every param, and every buffer that is kept, by its path, once: the names of the run's own params.

    Not by `state_dict`: Opacus's layers rename their own there, and fail on those that `adapted` put in order.
    """
    passing = {
        f"{path}.{name}" if path else name
        for path, part in module.named_modules()
        for name in part._non_persistent_buffers_set
    }
    kept = {name: value for name, value in module.named_buffers() if name not in passing}
    return {**dict(module.named_parameters()), **kept}
