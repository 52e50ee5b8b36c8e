"""A site's personal model as a file: trained after the last round of a run, on this site, for this site alone.

The file is made of records without any noise. It is written for its owner only, nothing sends it, and no round ever
reads it: what is released later is made of the data and of released params, never of this. Where a site keeps
layers from round to round, the model begins with what the last round left of them. Nothing is charged, as nothing
is released. Records of people who withdrew are left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clients.data.load import site_data
from clients.journal.layers import layers_folder
from clients.people.leaving_out import ended_layers, without
from clients.people.listed import Withdrawals, list_path, load_list
from clients.policy import SiteFile, data_files, load_site
from clients.training.personal import personal_params
from federation.errors import AuditFailure, InputError, UnusableFile
from federation.files import refuse_existing, write_new
from federation.ledger.export import load_entries
from federation.model.base import trained
from federation.model.params import Layout, params_bytes, params_digest
from federation.model.task import Dataset, whole
from federation.report.said.finished import Finished
from privacy.errors import LedgerRefusal
from privacy.ledger import withdrawals as said
from privacy.ledger.chain import Entry
from privacy.ledger.limits import ABANDONED, LEFT
from privacy.ledger.state import RESTORED, fold
from privacy.mechanism.noise import Stream

AS_RECORDS = (
    "the personal model is made of this site's records without any noise: keep the file as you keep the records, "
    "and give away neither it nor scores made by it"
)
_ANEW = "make it anew: federation personal RUN SITE --out FILE"
_FORMAT = "federation.personal/1"
_OTHERWISE = (ABANDONED, LEFT, RESTORED)  # how a run is closed here without its model


@dataclass(frozen=True)
class Personal:
    """The personal model of a site, by its id, and what it is compared on."""

    site: str
    params: Tensor = field(repr=False)
    trained_on: Dataset = field(repr=False)
    held_out: Dataset | None = field(repr=False)


def require_planned(run: Finished) -> None:
    """InputError for a run whose plan has no `[personal]` table: how a personal model is made is agreed on, too."""
    if run.plan.personal is None:
        hint = "agree on a plan with [personal] steps and learning_rate, then run that"
        raise InputError(f"{run.path}: its plan has no [personal] table", hint=hint)


def personal_model(run: Finished, path: Path) -> Personal:
    """The personal model of the site of a site file, by the plan of a run that is over.

    LedgerRefusal while the run is open here; AuditFailure if the site's ledger closed it with another model.
    """
    require_planned(run)
    rules = load_site(path)
    entries = load_entries(rules.journal) if rules.journal.exists() else ()
    _require_over(run, entries)
    source, test = data_files(rules, path.parent)
    records = site_data(source, test, run.plan, run.task, rules.policy, rules.data.person)
    known = _withdrawn(rules, entries)
    training, held_out = records.training, records.held_out
    if known is not None:
        training = without(training, known)
        held_out = None if held_out is None else without(held_out, known)
    own = ended_layers(layers_folder(rules.journal), run.plan, run.id, known)
    params = personal_params(run.plan, run.task, run.params, training, Stream(os.urandom(32)), own=own)
    return Personal(rules.id, params, training, held_out)


def write_personal(run: Finished, site: str, params: Tensor, out: Path) -> None:
    """Write a site's personal params into a new file, for its owner only. UnusableFile if there is one already."""
    refuse_existing(out)
    model = whole(run.task).model()
    Layout.of(model).load(model, params)
    tensors = {name: value.detach().contiguous() for name, value in trained(model).items()}
    told = {"format": _FORMAT, "plan": run.plan.digest, "released": _digest(run), "site": site}
    write_new(out, save(tensors, told | {"private": "false"}), is_secret=True)


def with_personal_params(run: Finished, params: Tensor) -> Finished:
    """The run with a site's personal params in the place of the released ones, also of layers that never travel."""
    return replace(run, params=params, task=whole(run.task))


def read_personal(run: Finished, path: Path) -> Tensor:
    """The params (d,) of a personal model of this run. UnusableFile for any other file."""
    layout = Layout.of(whole(run.task).model())
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told = file.metadata() or {}
    except (OSError, ValueError, SafetensorError):
        raise UnusableFile("cannot be read as a personal model", hint=_ANEW, path=path) from None
    said_of = told.get("format"), told.get("plan"), told.get("released")
    if said_of != (_FORMAT, run.plan.digest, _digest(run)):
        raise UnusableFile("is no personal model of this run", hint=_ANEW, path=path)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != dict(zip(layout.names, layout.shapes, strict=True)):
        raise UnusableFile("does not hold the plan's model", hint=_ANEW, path=path)
    flat = torch.cat([tensors[name].reshape(-1).to(torch.float32) for name in layout.names])
    if not bool(flat.isfinite().all()):
        raise UnusableFile("holds what is no number", hint=_ANEW, path=path)
    return flat


def _digest(run: Finished) -> str:
    return params_digest(params_bytes(run.params)).hex()


def _require_over(run: Finished, entries: Sequence[Entry]) -> None:
    """The run is over here, too: a personal model of a run that goes on would know more than its rounds."""
    account = fold(entries).runs if entries else {}
    known = account.get(run.id)
    if known is None:
        return  # the site took no part: it may still make the released model its own
    if known.closed is None:
        hint = f"wait for its end; if it will not go on: federation ledger close SITE {run.id[:8]}"
        raise LedgerRefusal(
            "this run is open in the site's ledger: a personal model comes after it", hint=hint
        )
    if known.closed not in (_digest(run), *_OTHERWISE):
        raise AuditFailure(
            f"{run.path}: the site's ledger closed this run with another model",
            hint="do not use this model; see federation audit RUN --ledger FILE",
        )


def _withdrawn(rules: SiteFile, entries: Sequence[Entry]) -> Withdrawals | None:
    """The list of people who withdrew as it stands; None where there never was one."""
    path = list_path(rules)
    last = next((entry for entry in reversed(entries) if said.FIELD in entry.body), None)
    if last is None and not path.exists():
        return None
    known = load_list(path)
    known.require_newest(last, path)
    return known.by_column(rules.data.person, path)
