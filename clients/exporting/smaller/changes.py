"""What may be done to a model on its way out, and what was done, in words for the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.exporting.forms import Form
from federation.errors import InputError

STATEMENT: Final = "whoever exported the model stated that these data are public"
MADE_UP: Final = "made up from the plan's public ranges and values; they hold nothing of anybody"


@dataclass(frozen=True)
class Changes:
    """`distill` names the student's model; `data` is what it learns from, if `is_public`; else rows are made up."""

    distill: str | None = None
    data: Path | None = None
    is_public: bool = False
    prune: float | None = None
    quantize: str | None = None

    def __bool__(self) -> bool:
        return not (self.distill is None and self.prune is None and self.quantize is None)

    def check(self, form: Form) -> None:
        """InputError for what does not fit together, or says too little."""
        if self.quantize is not None and form != "onnx":
            raise InputError("--quantize is of ONNX, whose runtime has the operators", hint="write --to onnx")
        if self.prune is not None and not 0 < self.prune < 1:
            raise InputError("--prune is a share between 0 and 1", hint="write for example: --prune 0.5")
        if self.is_public and self.data is None:
            hint = "add --data FILE, or leave it out: what a student learns from is made up then"
            raise InputError(
                "--public is a statement about the rows of --data FILE, and none is named", hint=hint
            )
        if self.distill is None and self.data is not None:
            hint = "add --distill MODEL, such as mlp, or leave --data and --public out"
            raise InputError("--data is what a student learns from, and there is none", hint=hint)
        if self.data is not None and not self.is_public:
            raise InputError(
                "--data: nobody said that these data are public, and any record of a site in them is a new release",
                hint="--public states it, and the file keeps the statement; without --data rows are made up",
            )
