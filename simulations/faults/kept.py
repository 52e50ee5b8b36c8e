"""The faults of a simulation on record: a run is resumed with those it began with, and its report tells them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from federation.errors import CheckpointError, OtherRun
from federation.files import kept, replace_file
from federation.report.receipt import Receipt
from federation.report.report import Suffered
from server import checkpoint
from simulations.faults.rules import Faults

_FILE = "faults.json"


def keep_faults(faults: Faults | None, folder: Path) -> None:
    """Record the faults in the checkpoint folder of a run; CheckpointError for others than it began with.

    A run without faults leaves no file.
    """
    path = folder / _FILE
    if checkpoint.exists(folder):
        try:
            known = json.loads(path.read_text("utf-8")) if path.exists() else None
        except (OSError, ValueError):
            raise CheckpointError(f"{path} cannot be read", hint="start again in another folder") from None
        require_same(folder.parent, faults, known)
    elif faults is not None:
        with kept(folder):
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(faults.to_json(), indent=1).encode())
    else:
        path.unlink(missing_ok=True)


def require_same(out: Path, faults: Faults | None, known: Mapping[str, Any] | None) -> None:
    """CheckpointError unless these are the faults that a run is known to have."""
    if (None if faults is None else faults.to_json()) == (None if known is None else dict(known)):
        return
    told = "without faults" if known is None else f"with the faults {written(known)}"
    hint = "leave out --faults" if known is None else f'give --faults "{written(known)}"'
    raise OtherRun(f"{out} holds a run {told}", hint=f"{hint}, or name another folder")


def written(rules: Mapping[str, Any]) -> str:
    """Faults as they are given on a command line, without what goes without saying.

    >>> written({"dropouts": 0.05, "seed": 7, "away_rounds": 3})
    'dropouts=0.05, seed=7'
    """
    plain = Faults().to_json()
    told = {name: value for name, value in rules.items() if value != plain.get(name)}
    return ", ".join(f"{name}={value!r}" for name, value in (told or {"seed": rules.get("seed", 0)}).items())


def suffered(faults: Faults | None, receipts: Sequence[Receipt]) -> dict[str, Suffered]:
    """What a report tells of the faults: nothing where there were none."""
    if faults is None:
        return {}
    missed = Counter(site for one in receipts for site in one.invited - frozenset(one.survivors))
    seconds = sum(one.simulated_seconds or 0.0 for one in receipts)
    told = Suffered(
        rules=faults.to_json(), simulated_seconds=round(seconds, 3), missed=dict(sorted(missed.items()))
    )
    return {"faults": told}
