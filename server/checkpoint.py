"""A run between two rounds, on disk: one safetensors file, replaced atomically.

The file is written beside the old one, flushed to the disk, then renamed over it: a run that is killed at any
instant finds either the old state or the new one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from federation.errors import CheckpointError
from federation.files import replace_file
from federation.plan.plan import Plan
from federation.round.messages import RUN_ID_BYTES
from federation.sums.optimizers import OptState
from federation.sums.state import ServerState

_FILE = "state.safetensors"
_FORMAT = "federation.checkpoint/1"
_OPTIMIZER = "optimizer."
_AVERAGE = "average"
_NORM = "clipping_norm"


def write(folder: Path, plan: Plan, state: ServerState) -> None:
    """Store `state` durably in `folder`."""
    replace_file(folder / _FILE, packed(plan, state))


def packed(plan: Plan, state: ServerState) -> bytes:
    """What is stored."""
    moments = {f"{_OPTIMIZER}{name}": tensor for name, tensor in state.optimizer.to_tensors().items()}
    tensors = {"params": state.params, **moments}
    if state.average is not None:
        tensors[_AVERAGE] = state.average
    metadata = {
        "format": _FORMAT,
        "plan": plan.digest,
        "run": state.run.hex(),
        "round": str(state.round),
        "attempt": str(state.attempt),
    }
    if state.clipping_norm is not None:
        metadata[_NORM] = repr(state.clipping_norm)
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    return save(contiguous, metadata)


def exists(folder: Path) -> bool:
    """Whether a state is stored in `folder`."""
    return (folder / _FILE).exists()


def path_of(folder: Path) -> Path:
    """Where the state is stored in `folder`, if it is."""
    return folder / _FILE


def remove(folder: Path) -> None:
    """Delete the state, and only then what lies beside it: killed in between, nothing is left to be resumed."""
    (folder / _FILE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def read(folder: Path, plan: Plan) -> ServerState | None:
    """The stored state, or None if none is stored. CheckpointError if it is damaged or another plan's."""
    path = folder / _FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        raise CheckpointError(f"{path} is damaged", hint="start again in another folder") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = "check the disk and the permissions, then give the same command again"
        raise CheckpointError(f"{path} cannot be read ({reason})", hint=hint) from None
    if plan.older is not None and metadata.get("plan") == plan.older.digest:
        reason = f"{path} is of an older version, in which server.tau was 0.001 unless a plan said otherwise"
        raise CheckpointError(reason, hint="finish the run with that version, or name a new folder")
    if metadata.get("format") != _FORMAT or metadata.get("plan") != plan.digest:
        raise CheckpointError(f"{path} belongs to another plan", hint="use its own plan, or another folder")
    try:
        return _state(plan, metadata, tensors)
    except (ValueError, KeyError, RuntimeError):
        raise CheckpointError(f"{path} is damaged", hint="start again in another folder") from None


def _state(plan: Plan, metadata: dict[str, str], tensors: dict[str, Tensor]) -> ServerState:
    """ValueError, KeyError or RuntimeError where a number, a tensor or the one value of a tensor is not there."""
    average = None if plan.server.iterate_average is None else tensors.pop(_AVERAGE)
    params = tensors.pop("params")
    moments = {name.removeprefix(_OPTIMIZER): value for name, value in tensors.items()}
    run, done, attempt = bytes.fromhex(metadata["run"]), int(metadata["round"]), int(metadata["attempt"])
    if len(run) != RUN_ID_BYTES or min(done, attempt) < 0:
        raise ValueError("no run, or a round before the first")
    norm = float(metadata[_NORM]) if plan.privacy.adapts else None
    return ServerState(run, done, params, OptState.from_tensors(moments), attempt, average, norm)
