"""A run folder: plan.toml, checkpoint/, receipts.jsonl and, at the end, params.safetensors.

Opening a folder that already holds a run resumes it; the plan must be the same to the digest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from federation.errors import CheckpointError
from federation.layout import Layout
from federation.plan import Plan, parse
from server import checkpoint
from server.run import RESERVED, RoundReport
from server.state import ServerState, begin

RUN_ID_BYTES = 16


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path
    plan: Plan

    @classmethod
    def open(cls, path: Path, plan: Plan, text: str) -> RunFolder:
        """Claim `path` for `plan` (whose TOML is `text`), or take up the run that is already there."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            stored = path / "plan.toml"
            if not stored.exists():
                if any(entry.name != "plan.toml.new" for entry in path.iterdir()):  # of a killed process
                    raise CheckpointError(f"{path} is not empty and holds no run", hint="name a new folder")
                checkpoint.replace_file(stored, text.encode())
            elif parse(stored.read_text("utf-8"), stored).digest != plan.digest:
                raise CheckpointError(f"{path} holds a run of another plan or seed", hint="name a new folder")
        except OSError as error:
            raise CheckpointError(
                f"{path} cannot be written: {error.strerror}", hint="name another folder"
            ) from None
        return cls(path, plan)

    def state(self, params: Tensor) -> ServerState:
        """Where the run stands; at the beginning, that is `params` and a fresh run id."""
        stored = checkpoint.read(self.path / "checkpoint", self.plan)
        if stored is None:
            stored = begin(self.plan, os.urandom(RUN_ID_BYTES), params)
        else:
            # Attempts that a killed process may have begun are skipped: an attempt's number is never used twice.
            stored = replace(stored, attempt=stored.attempt + RESERVED)
        checkpoint.write(self.path / "checkpoint", self.plan, stored)
        return stored

    def store(self, state: ServerState, report: RoundReport, metrics: Mapping[str, float | None]) -> None:
        """Make a finished round durable: its receipt, then the state.

        Killed in between, the round is played again and its receipt written again; the last one counts.
        """
        line = json.dumps(asdict(report) | {"metrics": dict(metrics)}, sort_keys=True)
        path = self.path / "receipts.jsonl"
        torn = path.exists() and not path.read_bytes().endswith(b"\n")  # a killed process's last line
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * torn + line + "\n")
            file.flush()
            os.fsync(file.fileno())
        checkpoint.write(self.path / "checkpoint", self.plan, state)

    def receipts(self) -> list[dict[str, Any]]:
        """One entry per finished round, in order."""
        path = self.path / "receipts.jsonl"
        if not path.exists():
            return []
        by_round: dict[int, dict[str, Any]] = {}
        for line in path.read_text("utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a killed process
            by_round[entry["round"]] = entry
        return [by_round[number] for number in sorted(by_round)]

    def write_params(self, model: nn.Module, params: Tensor) -> None:
        """Write the params by name; they are what the run was for."""
        Layout.of(model).load(model, params)
        tensors = {name: value.detach().contiguous() for name, value in model.named_parameters()}
        metadata = {"plan": self.plan.digest, "private": str(self.plan.is_private).lower()}
        checkpoint.replace_file(self.path / "params.safetensors", save(tensors, metadata))

    def close(self) -> None:
        """The run is over and all its files are written: what it would resume from can go."""
        shutil.rmtree(self.path / "checkpoint", ignore_errors=True)

    @property
    def is_finished(self) -> bool:
        """The run in this folder is over."""
        return (self.path / "params.safetensors").exists() and not checkpoint.exists(self.path / "checkpoint")
