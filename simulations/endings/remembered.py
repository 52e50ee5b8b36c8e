"""What a run that is over was of: keyed fingerprints of its data, kept on this machine and not in its folder.

A run folder travels, and whoever has fingerprints with their key can try guesses at rows. So both leave the folder
when its run is over. But then nothing would tell whether whoever gives the same command again has the data that the
report speaks of. They go beside the registry of `simulations.tried`, readable by their owner only, in a file named
by the digest of the run's result: a folder that moved is still known, and so is a copy of it.

It is advice: where it cannot be kept, or is gone, or an earlier version wrote it, whoever asks is told that less
was compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from federation.files import replace_file
from simulations.tried import registry_path

Json = dict[str, Any]


def remember(result: Path, key: bytes, inputs: Mapping[str, Any]) -> None:
    """Keep what the run was of whose last word is the file `result`. Where that fails, nothing is kept."""
    with suppress(OSError, RuntimeError):
        place = _place(result)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = {"made_by": _made_by(), "key": key.hex(), "inputs": inputs}
        replace_file(place, json.dumps(told).encode(), is_secret=True)


def recall(result: Path) -> tuple[bytes, Json] | None:
    """The key and the fingerprints under it; None where this version, on this machine, knows none."""
    with suppress(OSError, RuntimeError, ValueError, LookupError, TypeError):
        told = json.loads(_place(result).read_text("utf-8"))
        if told["made_by"] == _made_by():
            return bytes.fromhex(told["key"]), dict(told["inputs"])
    return None


def _place(result: Path) -> Path:
    return registry_path().parent / "finished" / f"{sha256(result.read_bytes()).hexdigest()[:32]}.json"


def _made_by() -> list[str]:
    """Another version may read the same file into other numbers, and begin with other params."""
    return [version("private-federation"), torch.__version__]
