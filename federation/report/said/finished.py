"""Opens a run that is over, to use its model: the params are those that its receipts end with, or nobody gets them.

This is no audit: `federation audit RUN` follows every thread. What is asked here is that plan, receipts, report and
params are of one run, so that nobody scores people with a file that was put in their place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from federation.errors import AuditFailure, CheckpointError, FederationError, InputError, UnusableFile
from federation.identity.roster_file import load_roster
from federation.model import contrasts
from federation.model.params import Layout, params_bytes, params_digest
from federation.model.task import Task, build_task
from federation.plan.personal import kept_of, named
from federation.plan.plan import Plan, load
from federation.plan.tabular import TabularTask
from federation.report.receipt import Receipt
from federation.sums.drift import Taken, deviation
from privacy.errors import PrivacyError

_AUDIT = "do not use this model; see federation audit RUN"
_READ = ("plan.toml", "roster.toml", "report.json", "receipts.jsonl", "params.safetensors")
_DAMAGE = (FederationError, PrivacyError, OSError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, eq=False)
class Finished:
    """A run that is over: `params` (d,) in the order of its model, which has an input for each column.

    `deviation`: that of the noise in each param; 0 without privacy, None where it is not known. `id`: the run's.
    """

    path: Path
    plan: Plan
    task: Task
    params: Tensor = field(repr=False)
    simulated: bool
    deviation: float | None
    id: str = ""

    @property
    def table(self) -> TabularTask | None:
        """The table that the model reads, if it is one of tables."""
        return self.plan.task if isinstance(self.plan.task, TabularTask) else None


def require_whole(run: Finished) -> None:
    """InputError for a model that is whole at a site alone: of the others it would tell what nobody trained."""
    if (kept := kept_of(run.plan)) is not None:
        hint = "take a site's own model: federation personal makes it, and predict takes --personal FILE"
        raise InputError(
            f"each site keeps {named(kept[0])} for itself, and the released model has none", hint=hint
        )


@dataclass(frozen=True)
class _Receipts:
    rounds: tuple[Receipt, ...]
    closing: str | None
    run: str


def open_run(run: Path, *, is_closing: bool = False) -> Finished:
    """The run in a folder. UnusableFile if there is none, CheckpointError if it is not over.

    AuditFailure if its files contradict each other; TaskError if its own code is not here.
    `is_closing`: who asks is
    the process that is about to end it.
    """
    plan = plan_of(run, is_closing=is_closing)
    report, receipts = _report(run), _receipts(run)
    if receipts.closing is None:
        raise CheckpointError(f"{run}: receipts.jsonl does not say that the run ended", hint=_AUDIT)
    if plan.older is not None and report.get("plan_digest") == plan.older.digest:
        plan = plan.older
    if report.get("plan_digest") != plan.digest:
        raise AuditFailure(f"{run}: report.json is of another plan than plan.toml", hint=_AUDIT)
    task = build_task(plan)
    params = _params(run, plan, task, receipts.closing)
    noise = noise_of(run, plan, receipts.rounds, len(params))
    return Finished(run, plan, task, params, report.get("simulated") is True, noise, receipts.run)


def open_model(run: Path) -> Finished:
    """The same of a run that trained a model. InputError for one that published a table."""
    if plan_of(run).task_is_tally:
        raise InputError(
            f"{run}: nothing was trained, so there is no model: the run published a table of noised counts",
            hint="read report.html, or tables in report.json",
        )
    return open_run(run)


def has_files_that_end(run: Path) -> bool:
    """Whether all that is read here are files, or are not there: whoever opens a pipe may wait for ever."""
    return all((run / name).is_file() or not os.path.lexists(run / name) for name in _READ)


def plan_of(run: Path, *, is_closing: bool = False) -> Plan:
    """The plan of a run that is over."""
    if not has_files_that_end(run):
        raise AuditFailure(f"{run}: holds what is no file in the place of one", hint=_AUDIT)
    if not (run / "plan.toml").is_file():
        raise UnusableFile(
            "this is no run folder: it holds no plan.toml",
            hint="name the RUN of --out, or of --state",
            path=run,
        )
    plan = load(run / "plan.toml")
    lacking = [name for name in ("params.safetensors", "report.json") if not (run / name).is_file()]
    if lacking or (not is_closing and (run / "checkpoint" / "state.safetensors").exists()):
        what = f"there is no {lacking[0]}" if lacking else "it was stopped before all was written"
        hint = "give the command that began it again: it goes on where it was"
        raise CheckpointError(f"{run}: the run is not over: {what}", hint=hint)
    return plan


def noise_of(run: Path, plan: Plan, rounds: tuple[Receipt, ...], dimension: int) -> float | None:
    """The deviation that the noise of privacy makes in each param; None where it is not known."""
    try:
        sizes = {entry.site: entry.size for entry in load_roster(run / "roster.toml").read().entries}
        even = plan.cohort.weights == "uniform"
        taken = [
            Taken(
                {site: sizes.get(site, 1) if even else sizes[site] for site in line.cohort},
                line.survivors,
                line.excess_left,
            )
            for line in rounds
            if not line.is_lost
        ]
        return deviation(plan, taken, dimension)
    except _DAMAGE:
        return None


def _report(run: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((run / "report.json").read_text("utf-8"))
        if isinstance(found, dict):
            return found
    except (OSError, ValueError, RecursionError):
        pass
    raise AuditFailure(f"{run}: report.json cannot be read", hint=_AUDIT)


def _receipts(run: Path) -> _Receipts:
    rounds, closing, run_id = dict[int, Receipt](), None, ""
    try:
        for text in (run / "receipts.jsonl").read_text("utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue  # half a line, as a killed process leaves one
            if not isinstance(line, dict):
                raise TypeError("no receipt")
            run_id = str(line.get("run", run_id))
            if "closed" in line:
                closing = str(line["params"])
            elif "round" in line:
                receipt = Receipt.from_json(line)
                rounds[receipt.round] = receipt
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise AuditFailure(f"{run}: receipts.jsonl cannot be read", hint=_AUDIT) from None
    return _Receipts(tuple(rounds[number] for number in sorted(rounds)), closing, run_id)


def _params(run: Path, plan: Plan, task: Task, closing: str) -> Tensor:
    """The flat params (d,), which are those that the run ended with."""
    layout = Layout.of(task.model())
    try:
        with safe_open(run / "params.safetensors", framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told: Mapping[str, str] = file.metadata() or {}
    except (OSError, ValueError, SafetensorError):
        raise AuditFailure(f"{run}: params.safetensors cannot be read", hint=_AUDIT) from None
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes != dict(zip(layout.names, layout.shapes, strict=True)) or told.get("plan") != plan.digest:
        raise AuditFailure(f"{run}: params.safetensors does not hold the plan's model", hint=_AUDIT)
    flat = torch.cat([tensors[name].reshape(-1).to(torch.float32) for name in layout.names])
    if params_digest(params_bytes(flat)).hex() != closing or not bool(torch.isfinite(flat).all()):
        raise AuditFailure(f"{run}: params.safetensors is not what the last round ended with", hint=_AUDIT)
    return flat


def adds_up(plan: Plan) -> bool:
    """Whether the plan's model is a sum over its features, which params alone tell."""
    return contrasts.adds_up(plan.task)
