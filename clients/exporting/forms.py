"""The formats: what each is called, how its file ends, and what writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from clients.exporting.stated import Stated

Form = Literal["onnx", "torch", "safetensors"]
ENDINGS: dict[Form, str] = {"onnx": "onnx", "torch": "pt2", "safetensors": "safetensors"}
FORMS = tuple(ENDINGS)
CLOSE = 1e-5
"""How far a file may be from what the model says, where that is 1 or less; a share of it where it is more."""


@dataclass(frozen=True, eq=False)
class Exported:
    """A model that goes into a file: `rows` (n, ...) are made up, `name` is that of its task."""

    module: nn.Module = field(repr=False)
    rows: Tensor = field(repr=False)
    name: str
    stated: Stated


def are_close(found: Tensor, wanted: Tensor) -> bool:
    """Whether outputs are the same, but for rounding."""
    return found.shape == wanted.shape and bool(
        ((found - wanted).abs() <= CLOSE * wanted.abs().clamp(min=1.0)).all()
    )
