"""The formats: what each is called, how its file ends, and what writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from clients.exporting.stated import Stated
from federation.report.said.finished import Finished

Form = Literal["onnx", "torch", "safetensors", "pmml"]
ENDINGS: dict[Form, str] = {"onnx": "onnx", "torch": "pt2", "safetensors": "safetensors", "pmml": "pmml"}
CLOSE = 1e-5
"""How far a file may be from what the model says, where that is 1 or less; a share of it where it is more."""


@dataclass(frozen=True, eq=False)
class Exported:
    """A model that goes into a file, the run's own or one that was made of it: `rows` (n, ...) are made up."""

    run: Finished
    module: nn.Module = field(repr=False)
    rows: Tensor = field(repr=False)
    stated: Stated

    @property
    def name(self) -> str:
        """That of its task."""
        return self.run.task.name


def are_close(found: Tensor, wanted: Tensor) -> bool:
    """Whether outputs are the same, but for rounding."""
    return found.shape == wanted.shape and bool(
        ((found - wanted).abs() <= CLOSE * wanted.abs().clamp(min=1.0)).all()
    )
