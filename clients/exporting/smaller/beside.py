"""What is lost: a changed model beside the run's own, on rows of nobody, and on records where somebody has them.

On public or made-up rows it is post-processing, and may stand in the file. On labelled records it is an exact
figure of them: for the terminal of who has them, and in a file only of a run that was simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clients.data.folders import by_reading, find_sites, place_of
from clients.data.load import read_file
from clients.data.split import simulated
from clients.drafting.sources import origin_of_site
from clients.exporting.schema import Json
from clients.predicting.figures import figures_of, has_classes
from federation.errors import InputError
from federation.model.task import Dataset
from federation.plan.outcomes import Classes
from federation.plan.tabular import TabularTask
from federation.report.said.finished import Finished

Answer = Callable[[Tensor], Tensor]
"""From rows (n, ...) to outputs (n, ...)."""
_BATCH = 4096


def agreement(run: Finished, before: Answer, after: Answer, rows: Tensor, of: str) -> Json:
    """On rows without labels: how often both say the same class, or how far figures are apart."""
    one, other = _all(before, rows), _all(after, rows)
    said: Json = {"rows": len(rows), "of": of}
    if isinstance(run.task.predicts, Classes):
        same = (_classes(run, one) == _classes(run, other)).double().mean()
        return said | {"agreement": float(same)}
    apart = figures_of(run, one) - figures_of(run, other)
    return said | {"apart": float(apart.square().mean().sqrt())}


@dataclass(frozen=True)
class Lost:
    """Figures of both models on the same records. `accuracy` is of classes only."""

    records: int
    loss: tuple[float, float]
    accuracy: tuple[float, float] | None

    def to_json(self) -> Json:
        """Before and after."""
        found: Json = {"records": self.records, "loss": list(self.loss)}
        return found if self.accuracy is None else found | {"accuracy": list(self.accuracy)}

    @property
    def words(self) -> str:
        """For people."""
        if self.accuracy is None:
            before, after = self.loss
            return f"mean loss {after:.4f}, before {before:.4f}, on {self.records:,} records"
        before, after = self.accuracy
        return f"accuracy lost {before - after:+.4f}: {after:.4f}, before {before:.4f}, on {self.records:,} records"


def lost(run: Finished, before: Answer, after: Answer, records: Sequence[Dataset]) -> Lost:
    """On labelled records."""
    found = [_figures(run, answer, records) for answer in (before, after)]
    losses, shares = zip(*found, strict=True)
    accuracy = (shares[0], shares[1]) if isinstance(run.task.predicts, Classes) else None
    return Lost(sum(map(len, records)), (losses[0], losses[1]), accuracy)


def records_at(run: Finished, path: Path) -> list[Dataset]:
    """Labelled records: a file's, a site.toml's, or those held out of a simulation's sites. InputError for none."""
    plan = run.plan
    if path.suffix == ".toml":
        return [read_file(origin_of_site(path), plan, run.task).data]
    if not (run.simulated and path.is_dir()):
        with by_reading():
            return [read_file(place_of(path), plan, run.task).data]
    found = list[Dataset]()
    for site in find_sites(path, any_format=not isinstance(plan.task, TabularTask)).sites:
        train, test = site.places()
        if test is not None:
            found.append(read_file(test, plan, run.task).data)
            continue
        data = read_file(train, plan, run.task).data
        held = simulated(data, plan, run.task.outcome)[1]
        found += [] if held is None else [held]
    if not found:
        raise InputError(f"{path}: no record was held out of training", hint="name a file of others")
    return found


def _figures(run: Finished, answer: Answer, records: Sequence[Dataset]) -> tuple[float, float]:
    total, right, many = 0.0, 0, 0
    is_of_classes = isinstance(run.task.predicts, Classes)
    for data in records:
        outputs = _all(answer, data.features)
        total += float(run.task.loss(outputs, data.labels).double().sum())
        right += int((_classes(run, outputs) == data.labels).sum()) if is_of_classes else 0
        many += len(data)
    return total / many, right / many


def _classes(run: Finished, outputs: Tensor) -> Tensor:
    """As `federation predict` answers."""
    threshold = run.plan.evaluation.threshold
    if threshold is not None and has_classes(run) and outputs.shape[1] == 2:
        return (torch.softmax(outputs, 1)[:, 1] >= threshold).long()
    return outputs.argmax(1)


def _all(answer: Answer, rows: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([answer(part) for part in torch.split(rows, _BATCH)])
