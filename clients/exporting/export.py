"""A run's model into a file of another format: opened, changed if one asks for it, tried, and written as a whole.

params of the run -> student? -> smallest weights 0? -> the format -> 8-bit weights? -> file
beside the run's own model on rows of nobody -> what the file says of the change
on records with labels                       -> the terminal; of a simulation the file, too
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from clients.exporting.forms import ENDINGS, Exported, Form
from clients.exporting.libraries import require_onnx
from clients.exporting.onnx_form import answered, onnx_bytes, restated
from clients.exporting.pmml_form import pmml_bytes
from clients.exporting.rows import FEW, made_rows, said_by
from clients.exporting.safetensors_form import safetensors_bytes
from clients.exporting.schema import Json
from clients.exporting.smaller.beside import Answer, Lost, agreement, lost, records_at
from clients.exporting.smaller.changes import Changes
from clients.exporting.smaller.distilled import distill
from clients.exporting.smaller.pruned import prune
from clients.exporting.smaller.public import MADE, made_up, stated_public
from clients.exporting.smaller.quantized import quantize
from clients.exporting.stated import Stated, stated
from clients.exporting.torch_form import torch_bytes
from clients.predicting.scores import model_of
from federation.files import refuse_existing, write_new
from federation.model.task import Dataset
from federation.report.said.finished import Finished

_WRITERS: Mapping[Form, Callable[[Exported], bytes]] = {
    "onnx": onnx_bytes,
    "torch": torch_bytes,
    "safetensors": safetensors_bytes,
    "pmml": pmml_bytes,
}
_NONE = Changes()
Stage = Callable[..., None]
"""Told what is going on, and how far it is."""


@dataclass(frozen=True)
class Written:
    """What a file says of itself, and what was lost on records, if somebody named some."""

    stated: Stated
    lost: Lost | None


@dataclass(frozen=True, eq=False)
class _Changed:
    """A changed model, what was done, and rows of nobody that it has not seen; `of` says which."""

    module: nn.Module = field(repr=False)
    done: tuple[Json, ...]
    rows: Tensor = field(repr=False)
    of: str


def file_of(run: Path, form: Form) -> Path:
    """Where the file of a run goes if nobody says: the run's name, in the folder where the command was given."""
    return Path(f"{run.resolve().name or 'model'}.{ENDINGS[form]}")


def export(
    run: Finished,
    form: Form,
    out: Path,
    changes: Changes = _NONE,
    measure: Path | None = None,
    stage: Stage = lambda *_: None,
) -> Written:
    """Write the model of a run into a new file. UnusableFile if it is there already.

    `measure`: records with labels, to tell what a change loses. A model without privacy may say what records hold,
    so its file is readable by its owner only.
    """
    changes.check(form)
    refuse_existing(out)
    if form == "onnx":
        require_onnx()
    own, records = model_of(run), None if measure is None else records_at(run, measure)
    changed, rows, name = _changed(run, own, changes, stage), made_rows(run), run.task.name
    about = partial(stated, run, rows, said_by(own, rows, name))
    stage("writing")
    if changes.quantize is None:
        answer: Answer = partial(said_by, changed.module, name=name)
        beside, found = _beside(run, own, answer, changed, records) if changes else (None, None)
        said = about(changed.done, beside)
        data = _WRITERS[form](Exported(run, changed.module, rows, said))
    else:
        whole = onnx_bytes(Exported(run, changed.module, rows, about(changed.done)))
        data, done = quantize(whole)
        beside, found = _beside(run, own, partial(answered, data), changed, records)
        said = about((*changed.done, done), beside)
        data = restated(data, said)
    write_new(out, data, is_secret=not run.plan.is_private)
    return Written(said, found)


def _changed(run: Finished, own: nn.Module, changes: Changes, stage: Stage) -> _Changed:
    """The model after all but quantization, which is of a file."""
    if changes.distill is not None:
        learned = made_up(run) if changes.data is None else stated_public(run, changes.data)
        told = partial(stage, "distilling")
        module, said, kept = distill(run, own, changes.distill, learned, told)
        of = "made-up rows" if changes.data is None else "rows stated to be public"
        found = _Changed(module, (said,), kept, f"{of} that the student did not learn from")
    else:
        module = copy.deepcopy(own)
        rows = made_rows(run, MADE if changes else FEW)
        found = _Changed(module, (), rows, "made-up rows")
    if changes.prune is None:
        return found
    return replace(found, done=(*found.done, prune(module, changes.prune)))


def _beside(
    run: Finished, own: nn.Module, answer: Answer, changed: _Changed, records: Sequence[Dataset] | None
) -> tuple[Json, Lost | None]:
    """What a file says of a changed model beside the run's own, and what the terminal says of records."""
    before: Answer = partial(said_by, own, name=run.task.name)
    beside = agreement(run, before, answer, changed.rows, changed.of)
    found = None if records is None else lost(run, before, answer, records)
    if found is not None and run.simulated:
        beside["lost"] = found.to_json()
    return beside, found
