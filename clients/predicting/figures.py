"""The outputs of a model as people read them, by what the plan predicts: in the target's unit, or as chances."""

from __future__ import annotations

import torch
from torch import Tensor

from federation.model.outcomes import half_of
from federation.model.task import cross_entropy
from federation.plan.numerals import as_text
from federation.plan.outcomes import Classes, Counts, Range, Survival
from federation.plan.tasks import Classification, Counting
from federation.report.said.finished import Finished


def has_classes(run: Finished) -> bool:
    """Whether outputs are logits of classes. What a user's own loss makes of them is not known."""
    return isinstance(run.task.predicts, Classes) and run.task.loss is cross_entropy


def names_of(run: Finished, width: int) -> list[str]:
    """A name for each figure of a row; `width` is that of the outputs."""
    outcome, table = run.task.predicts, run.table
    if isinstance(outcome, Range):
        return ["predicted" if table is None else f"predicted {table.target}"]
    if isinstance(outcome, Survival):
        return [f"survival at {as_text(end)}" for end in outcome.ends]
    if isinstance(outcome, Counts):
        what = "count" if table is None else table.target
        exposure = table.exposure if isinstance(table, Counting) else None
        over = f" for 1 of {exposure}" if exposure is not None else ""
        return [f"expected {what}{over or (' for 1 of exposure' if outcome.has_exposure else '')}"]
    classes = table.classes if isinstance(table, Classification) else map(str, range(width))
    return [f"{'probability' if has_classes(run) else 'output'} {name}" for name in classes]


def figures_of(run: Finished, outputs: Tensor) -> Tensor:
    """The figures (n, figures) of outputs (n, outputs), in float64.

    Of a range: the number itself, which may lie a little beyond the range. Of a time until an event: the chance to
    come through each bin and all before it. Of a count: the mean, for one unit of exposure where there is one.
    """
    outcome, outputs = run.task.predicts, outputs.double()
    if isinstance(outcome, Range):
        return outcome.low + half_of(outcome) * (outputs + 1)
    if isinstance(outcome, Survival):
        return torch.sigmoid(-outputs).cumprod(1)
    if isinstance(outcome, Counts):
        return outputs.exp()
    return torch.softmax(outputs, 1) if has_classes(run) else outputs
