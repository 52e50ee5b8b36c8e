"""A `.pt2` file: what `torch.export.load` reads without any code of ours, or of the task.

`torch.export.save` writes weights as plain bytes and pickles one thing, the rows that the model was captured with.
They are left out, so that no pickle is in the file.
"""

from __future__ import annotations

import io
from typing import Final

import torch

from clients.exporting.captured import captured
from clients.exporting.forms import Exported, are_close
from clients.exporting.libraries import quietly
from clients.exporting.rows import said_by
from federation.errors import TaskError

METADATA: Final = "model.json"
"""The extra file in the archive, which `torch.export.load` hands out by this name."""


def torch_bytes(model: Exported) -> bytes:
    """The file. TaskError if it does not say what the model says."""
    program = captured(model.module, model.rows, model.name)
    program.example_inputs = None
    file = io.BytesIO()
    texts = model.stated.texts
    extra = {METADATA: texts["federation"], "guarantee": texts["guarantee"]}
    with quietly():
        torch.export.save(program, file, extra_files=extra)
        again = torch.export.load(io.BytesIO(file.getvalue())).module()
    for count in (1, len(model.rows)):
        rows = model.rows[:count]
        if not are_close(said_by(again, rows, model.name), said_by(model.module, rows, model.name)):
            raise TaskError(
                f"{model.name}: the graph of the model gives other outputs", hint="write it as safetensors"
            )
    return file.getvalue()
