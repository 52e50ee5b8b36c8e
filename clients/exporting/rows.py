"""Rows that are nobody's: made up from the plan, to try a model with. They cost nothing and tell nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clients.rehearsing.records import made_records
from federation.errors import TaskError
from federation.report.said.finished import Finished

FEW = 33
_SITE = "export"


def made_rows(run: Finished, count: int = FEW) -> Tensor:
    """Inputs of so many made-up records, (count, ...). NoMock if the task is the user's own and makes none."""
    return made_records(run.plan, run.task, _SITE, count).features


@torch.no_grad()
def said_by(module: nn.Module, rows: Tensor, name: str) -> Tensor:
    """What a model says of rows, in the shape that it gives it. TaskError if the user's code fails."""
    try:
        found = module(rows)
    except Exception as error:
        reason = f"{name}: the model failed with {type(error).__name__}"
        raise TaskError(reason, hint="see --debug") from error
    if not isinstance(found, Tensor) or found.shape[:1] != rows.shape[:1]:
        raise TaskError(f"{name}: the model does not give each row an output", hint="correct the model")
    return found
