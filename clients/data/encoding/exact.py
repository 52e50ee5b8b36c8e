"""What tells records apart where their features do not: a pretrained encoder's vectors are not the same everywhere.

Their last bits follow from the machine and its number of threads. Were records held out by these bits, a site that
starts again elsewhere would train on a record in one round and evaluate on it in another, and a plan with folds
pays for less than that (clients/data/split.py, clients/data/folds.py). So such a record goes by its texts.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.data.sources.table import Table
from federation.plan.columns.encoder import encoders_of
from federation.plan.columns.maps import slices
from federation.plan.tabular import TabularTask


def exact(rows: NDArray[np.float32], table: Table, task: TabularTask) -> Tensor | None:
    """`Dataset.contents` of a table, (n,) int64, from encoded rows before any map; None where features are exact.

    A hash of a row's other columns and of the texts that encoders read.
    """
    read = encoders_of(task)
    if not read:
        return None
    places = slices(task.features)
    inexact = np.concatenate([np.r_[places[feature.name]] for feature in read])
    others = np.ascontiguousarray(np.delete(rows, inexact, axis=1))
    found, texts = list[bytes](), [table.column(feature.name) for feature in read]
    for row, *cells in zip(others, *texts, strict=True):
        state = hashlib.blake2b(row.tobytes(), digest_size=8)
        for cell in cells:
            state.update(hashlib.sha256(cell.encode("utf-8", "surrogatepass")).digest())
        found.append(state.digest())
    return torch.from_numpy(np.frombuffer(b"".join(found), ">i8").astype(np.int64))
