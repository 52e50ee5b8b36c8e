"""A site's part of a published evaluation: right answers, wrong answers and loss, summed over held-out records.

A record contributes (right, wrong, loss / LOSS_BOUND), which is at most sqrt(2) long; a patient the sum over their
records, scaled down to that length if it is longer. So the sums over all held-out records change by a known amount
with one of them, and are noised like an update (`clients.release`). Accuracy and mean loss follow from the sums;
nothing else about the held-out records leaves, their number included.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from federation.errors import DataError
from federation.kinds.figures import FIGURES, FIGURES_NORM, LOSS_BOUND
from federation.model.task import Dataset, Task
from privacy.mechanism.clipping import clip_rows


def figures(model: nn.Module, task: Task, data: Dataset | None, *, whole_patients: bool) -> Tensor:
    """The sums of a site, float64 (3,): right answers, wrong answers, loss in units of LOSS_BOUND.

    Zeros where nothing is held out. A loss that is not finite counts as LOSS_BOUND, a negative one as 0.
    """
    if data is None or len(data) == 0:
        return torch.zeros(FIGURES, dtype=torch.float64)
    rows = _rows(model, task, data)
    if whole_patients:
        if data.patients is None:
            hint = "name the column that does under task.patient"
            raise DataError("the held-out records do not say whose each of them is", hint=hint)
        people = int(data.patients.max()) + 1
        rows = torch.zeros(people, FIGURES, dtype=torch.float64).index_add_(0, data.patients, rows)
    return clip_rows(rows, FIGURES_NORM).sum(dim=0)


def _rows(model: nn.Module, task: Task, data: Dataset) -> Tensor:
    """One row per record, none longer than FIGURES_NORM."""
    model.eval()
    with torch.no_grad():
        outputs = model(data.features)
        losses = task.loss(outputs, data.labels).to(torch.float64)
    right = (outputs.argmax(dim=1) == data.labels).to(torch.float64)
    share = torch.nan_to_num(losses / LOSS_BOUND, nan=1.0, posinf=1.0, neginf=0.0).clamp(0.0, 1.0)
    return torch.stack([right, 1.0 - right, share], dim=1)
