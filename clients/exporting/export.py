"""A run's model into a file of another format: opened, tried and written as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from clients.exporting.forms import ENDINGS, Exported, Form
from clients.exporting.libraries import require_onnx
from clients.exporting.onnx_form import onnx_bytes
from clients.exporting.rows import made_rows, said_by
from clients.exporting.safetensors_form import safetensors_bytes
from clients.exporting.stated import Stated, stated
from clients.exporting.torch_form import torch_bytes
from clients.predicting.scores import model_of
from federation.files import refuse_existing, write_new
from federation.report.said.finished import Finished

_WRITERS: Mapping[Form, Callable[[Exported], bytes]] = {
    "onnx": onnx_bytes,
    "torch": torch_bytes,
    "safetensors": safetensors_bytes,
}


def file_of(run: Path, form: Form) -> Path:
    """Where the file of a run goes if nobody says: the run's name, in the folder where the command was given."""
    return Path(f"{run.resolve().name or 'model'}.{ENDINGS[form]}")


def export(run: Finished, form: Form, out: Path, stage: Callable[[str], None] = lambda _: None) -> Stated:
    """Write the model of a run into a new file. UnusableFile if it is there already.

    A model without privacy may say what records hold, so its file is readable by its owner only.
    """
    refuse_existing(out)
    if form == "onnx":
        require_onnx()
    module = model_of(run)
    rows = made_rows(run)
    about = stated(run, rows, said_by(module, rows, run.task.name))
    stage("writing")
    data = _WRITERS[form](Exported(module, rows, run.task.name, about))
    write_new(out, data, is_secret=not run.plan.is_private)
    return about
