"""An adapter as the files that plain `peft` reads: `adapter_model.safetensors` and `adapter_config.json`.

What a model trains beside its adapter, such as a head, is in `other.safetensors`, by the names of the run's params.
The base is in none of them: whoever loads the adapter has it, or asks its maker.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from clients.exporting.forms import Exported, are_close
from clients.exporting.libraries import library
from clients.exporting.rows import made_rows, said_by
from clients.exporting.stated import Stated, stated
from clients.predicting.scores import model_of
from federation.errors import InputError
from federation.files import refuse_existing, write_new
from federation.model.base import trained
from federation.report.said.finished import Finished

_ADAPTER, _CONFIG, _OTHER = "adapter_model.safetensors", "adapter_config.json", "other.safetensors"


def export_adapter(run: Finished, out: Path, stage: Callable[[str], None] = lambda _: None) -> Stated:
    """Write a run's adapter into a new folder. InputError if its model has none; UnusableFile if that is there."""
    refuse_existing(out)
    module, rows = model_of(run), made_rows(run)
    about = stated(run, rows, said_by(module, rows, run.task.name))
    stage("writing")
    files = _files(Exported(run, module, rows, about))
    out.mkdir(parents=True)
    for name, data in files.items():
        write_new(out / name, data, is_secret=not run.plan.is_private)
    return about


def _files(model: Exported) -> Mapping[str, bytes]:
    path, adapter = _adapter_of(model.module, model.name)
    tensors = _tensors(adapter)
    _require_whole(model, path, tensors)
    settings = adapter.peft_config[adapter.active_adapter].to_dict()
    settings |= {"base_model_name_or_path": None, "inference_mode": True}  # the path was this machine's own
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    stated_in = {**model.stated.texts, "format": "pt"}
    others = {name: each for name, each in trained(model.module).items() if not name.startswith(path)}
    found = {
        _ADAPTER: save(tensors, stated_in),
        _CONFIG: json.dumps(plain, indent=2, sort_keys=True).encode(),
    }
    if others:
        found[_OTHER] = save(
            {name: each.detach().clone().contiguous() for name, each in others.items()}, stated_in
        )
    return found


def _adapter_of(module: nn.Module, name: str) -> tuple[str, Any]:
    """The one part of the model that peft made, and the beginning of its params' names."""
    kind = library("peft", extra="text", what="an adapter").PeftModel
    found = [
        (f"{path}." if path else "", part) for path, part in module.named_modules() if isinstance(part, kind)
    ]
    if len(found) != 1:
        reason = f"{name}: the model has {len(found) or 'no'} parts that peft made"
        raise InputError(reason, hint="choose --to safetensors")
    return found[0]


def _tensors(adapter: Any) -> dict[str, Tensor]:
    """By the names that peft gives them in a file."""
    found = library("peft").get_peft_model_state_dict(adapter, save_embedding_layers=False)
    return {name: each.detach().clone().contiguous() for name, each in found.items()}


@torch.no_grad()
def _require_whole(model: Exported, path: str, tensors: Mapping[str, Tensor]) -> None:
    """InputError unless the file has all that is trained of the adapter, and makes another the same."""
    inside = sum(each.numel() for name, each in trained(model.module).items() if name.startswith(path))
    fresh = copy.deepcopy(model.module)
    for name, each in trained(fresh).items():
        if name.startswith(path):
            each.zero_()
    library("peft").set_peft_model_state_dict(_adapter_of(fresh, model.name)[1], dict(tensors))
    same = are_close(said_by(fresh, model.rows, model.name), said_by(model.module, model.rows, model.name))
    if sum(each.numel() for each in tensors.values()) != inside or not same:
        reason = f"{model.name}: peft would not read back what this adapter is"
        raise InputError(reason, hint="choose --to safetensors")
