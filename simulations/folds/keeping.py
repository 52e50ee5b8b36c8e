"""The folder of a cross-validation: RUN/fold-1, RUN/fold-2, ..., each a run folder, and RUN/folds.json at the end.

Until then `checkpoint/` says what was begun, with a keyed fingerprint of all records, so that no fold is dealt from
other data than those before it. Then this machine alone keeps it (simulations/endings).
"""

from __future__ import annotations

import hmac
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.errors import CheckpointError, OtherRun
from federation.files import kept, replace_file
from federation.model.task import Dataset
from federation.plan.plan import Plan
from federation.round.plays import fold_name
from simulations.endings.remembered import recall, remember
from simulations.faults.kept import require_same
from simulations.faults.rules import Faults
from simulations.fingerprints import fingerprint, parts_of
from simulations.folds.result import CrossValidation

RESULT = "folds.json"
_CHECKPOINT = "checkpoint"
_MAY_STAND = {_CHECKPOINT, ".baselines"}
_HINT = "bring back what it began with, or name a new folder"


@dataclass(frozen=True)
class FoldsFolder:
    """The files of one cross-validation."""

    path: Path
    plan: Plan
    engine: str
    folds: int
    faults: Faults | None = None

    def run(self, number: int) -> Path:
        """The run folder of a fold."""
        return self.path / fold_name(number)

    def finished(self) -> CrossValidation | None:
        """The result that is here, or None. CheckpointError if it is another one's, or if a run is here."""
        if (self.path / "plan.toml").exists():
            raise OtherRun(f"{self.path} holds a run, and no folds", hint="name a new folder")
        if not (self.path / RESULT).exists():
            return None
        try:
            found = CrossValidation.from_json(json.loads((self.path / RESULT).read_text("utf-8")))
        except (OSError, ValueError, RecursionError):
            raise CheckpointError(f"{self.path / RESULT} cannot be read", hint="name a new folder") from None
        self._require_same(found.plan_digest, found.engine, len(found.folds), found.faults)
        return found

    def require_ended(self, data: Mapping[str, Dataset]) -> bool:
        """OtherRun if the finished folds are of other records; whether this machine knows of which they are."""
        known = recall(self.path / RESULT)
        if known is None:
            return False
        self._require_records(str(known[1].get("data")), known[0], data)
        return True

    def begin(self, data: Mapping[str, Dataset]) -> None:
        """Record what is begun; if it was begun already, refuse anything else."""
        place = self.path / _CHECKPOINT
        if not (place / RESULT).exists():
            others = {entry.name for entry in self.path.iterdir()} - _MAY_STAND
            if others:
                raise OtherRun(f"{self.path} is not empty and holds no folds", hint="name a new folder")
            key = os.urandom(32)
            with kept(place):
                place.mkdir(mode=0o700, exist_ok=True)
                replace_file(place / "key", key, is_secret=True)
                replace_file(place / RESULT, json.dumps(self._begun(key, data)).encode())
            return
        try:
            known = json.loads((place / RESULT).read_text("utf-8"))
            key, seen = (place / "key").read_bytes(), str(known["data"])
            self._require_same(str(known["plan"]), str(known["engine"]), int(known["folds"]), known["faults"])
        except (OSError, ValueError, KeyError, TypeError):
            raise CheckpointError(f"{place} does not say what was begun", hint="name a new folder") from None
        self._require_records(seen, key, data)

    def end(self, result: CrossValidation) -> None:
        """Write the result. Only then what a resumed one needs can go."""
        text = json.dumps(result.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with kept(self.path / RESULT) as path:
            replace_file(path, text.encode())
        with suppress(OSError, ValueError):
            place = self.path / _CHECKPOINT
            remember(path, (place / "key").read_bytes(), json.loads((place / RESULT).read_text("utf-8")))
        shutil.rmtree(self.path / _CHECKPOINT, ignore_errors=True)

    def _begun(self, key: bytes, data: Mapping[str, Dataset]) -> dict[str, Any]:
        begun: dict[str, Any] = {"plan": self.plan.digest, "engine": self.engine, "folds": self.folds}
        begun["faults"] = None if self.faults is None else self.faults.to_json()
        return {**begun, "data": _records(key, data)}

    def _require_records(self, known: str, key: bytes, data: Mapping[str, Dataset]) -> None:
        if not hmac.compare_digest(known, _records(key, data)):
            raise OtherRun(f"the records changed since {self.path} was begun", hint=_HINT)

    def _require_same(self, plan: str, engine: str, folds: int, faults: Mapping[str, Any] | None) -> None:
        if plan != self.plan.digest:
            raise OtherRun(f"{self.path} holds folds of another plan or seed", hint="name a new folder")
        if folds != self.folds:
            hint = f"give --folds {folds}, or name a new folder"
            raise OtherRun(f"{self.path} holds {folds} folds, not {self.folds}", hint=hint)
        if engine != self.engine:
            hint = f"give --engine {engine}, or name a new folder"
            raise OtherRun(f"{self.path} holds folds by engine {engine}", hint=hint)
        require_same(self.path, self.faults, faults)


def _records(key: bytes, data: Mapping[str, Dataset]) -> str:
    parts = [part for name, one in sorted(data.items()) for part in (name.encode(), *parts_of(one))]
    return fingerprint(key, parts)
