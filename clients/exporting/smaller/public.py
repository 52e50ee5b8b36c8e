"""What a student learns from: rows that are stated to be public, or made up. Labels are not looked at.

A model's answers on such rows are post-processing: they say of the people in training no more than the params do.
Were one of these rows a person's in a pool, the student would be a new release of that row, which nobody paid for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from clients.data.encoding.wide import require_encoders
from clients.data.folders import by_reading, place_of
from clients.data.load import read_file
from clients.data.sources.reading import examined
from clients.exporting.rows import made_rows
from clients.exporting.schema import Json
from clients.exporting.smaller.changes import MADE_UP, STATEMENT
from clients.predicting.chunks import chunks
from clients.predicting.series import windows_of
from clients.rules.origin import Origin
from federation.errors import DataError
from federation.plan.series.tasks import Series
from federation.report.said.finished import Finished

MADE: Final = 2000
FEWEST: Final = 20


@dataclass(frozen=True)
class Learned:
    """Rows (n, ...) as inputs of the model, and what the file says of them."""

    rows: Tensor = field(repr=False)
    said: Json


def made_up(run: Finished) -> Learned:
    """Made-up rows. NoMock if the task is the user's own and makes none."""
    rows = made_rows(run, MADE)
    return Learned(rows, {"rows": len(rows), "digest": _of_rows(rows), "of": "rows", "statement": MADE_UP})


def stated_public(run: Finished, path: Path) -> Learned:
    """The rows of a file of which the caller states that it is public. DataError for cells that do not fit."""
    with by_reading():
        return _stated_public(run, path, place_of(path))


def _stated_public(run: Finished, path: Path, origin: Origin) -> Learned:
    if run.table is not None:
        require_encoders(run.table.features, origin)
        table, task = examined(origin), run.table
        parts = windows_of(table, task)[1] if isinstance(task, Series) else chunks(table, task)
        rows = torch.from_numpy(np.concatenate([part.inputs for part in parts]))
    else:
        rows = read_file(origin, run.plan, run.task).data.features
    if len(rows) < FEWEST:
        reason = f"{path}: {len(rows)} rows are too few to learn from"
        raise DataError(reason, hint=f"bring {FEWEST} or more, or leave --data out: rows are made up then")
    digest = _of_file(path) if path.is_file() else _of_rows(rows)
    of = "file" if path.is_file() else "rows"
    return Learned(rows, {"rows": len(rows), "digest": digest, "of": of, "statement": STATEMENT})


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _of_rows(rows: Tensor) -> str:
    """Of encoded rows: their shape, then their bytes in order."""
    state = hashlib.sha256(f"{rows.dtype} {tuple(rows.shape)}".encode())
    for part in _bytes(rows):
        state.update(part)
    return f"sha256:{state.hexdigest()}"


def _bytes(rows: Tensor) -> Iterator[bytes]:
    for part in torch.split(rows, 4096):
        yield part.detach().contiguous().numpy().tobytes()
