"""The parts of a plan with folds: their folders, what is left of them, and what was published of all of them.

    RUN/fold-1, ..., RUN/fold-K   without each fold: a training, and an evaluation on the fold
    RUN                           the training of the model, on all records

A plan without folds has one part, which is RUN. Each part is a run of the protocol with an id of its own, and is
resumed like any other. The id of the model's is on disk before the first fold begins, and all others follow from
it: so however often a coordinator is killed, sites reserve the plan once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from torch import Tensor

from federation.plan.plan import Plan
from federation.report.figures.folds import over
from federation.report.receipt import Receipt
from federation.report.report import Fold, FoldFigures, Folds, Published, Report
from federation.round.plays import MODEL, fold_name, fold_of, folds_of, run_of
from federation.sums.state import ServerState


class Folder(Protocol):
    """What is needed here of a run folder: `server.run_folder.RunFolder`."""

    @property
    def path(self) -> Path: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def is_finished(self) -> bool: ...
    def at(self, path: Path) -> Self: ...
    @classmethod
    def open(cls, path: Path, plan: Plan, text: str) -> Self: ...
    def require_whole(self) -> None: ...
    def state(self, params: Tensor, run: bytes = b"") -> ServerState: ...
    def receipts(self) -> Sequence[Receipt]: ...
    def evaluation(self) -> Mapping[str, Any] | None: ...
    def evaluated(self) -> tuple[str, ...] | None: ...


AnyFolder = TypeVar("AnyFolder", bound=Folder)


def left_of(folder: AnyFolder, text: str, params: Tensor) -> Iterator[tuple[AnyFolder, bytes]]:
    """What is left to play, with the id of each run, the model last. `params`: those that each begins with.

    CheckpointError if files of a run that was begun here are gone.
    """
    if folds_of(folder.plan) is None:
        yield folder, b""
        return
    folder.require_whole()
    base = folder.state(params).run
    for fold, part in enumerate(_folds(folder), start=1):
        if not part.is_finished:
            yield folder.open(part.path, folder.plan, text), run_of(base, fold)
    yield folder, base


def folds_beside(folder: AnyFolder, run: bytes) -> tuple[AnyFolder, ...]:
    """The folders of all folds, where this is the run of their model; else none."""
    return _folds(folder) if fold_of(folder.plan, run) == MODEL else ()


def _folds(folder: AnyFolder) -> tuple[AnyFolder, ...]:
    numbers = range(1, (folds_of(folder.plan) or 0) + 1)
    return tuple(folder.at(folder.path / fold_name(fold)) for fold in numbers)


def receipts_of(folder: Folder, run: bytes) -> tuple[Receipt, ...]:
    """The receipts that the report of a run counts by: its own; with the model's, those of all folds."""
    return tuple(line for one in (*folds_beside(folder, run), folder) for line in one.receipts())


def evaluated_in(folder: Folder, run: bytes) -> frozenset[str] | None:
    """The sites that were invited to an evaluation that is counted there; None while there is none."""
    known = [one.evaluated() for one in (*folds_beside(folder, run), folder)]
    found = [sites for sites in known if sites is not None]
    return frozenset(site for sites in found for site in sites) if found else None


def with_folds(report: Report, folder: Folder, run: bytes) -> Report:
    """The report with which fold it is of, or, of the model, with what was published of every fold."""
    folds, fold = folds_of(folder.plan), fold_of(folder.plan, run)
    if folds is None:
        return report
    told = {"fold": Fold(number=fold, of=folds)} if fold != MODEL else {"folds": _figures(folder, run)}
    return report.model_copy(update=told)


def _figures(folder: Folder, base: bytes) -> Folds:
    parts = folds_beside(folder, base)
    published = [part.evaluation() or {} for part in parts]
    means, deviations = over(published)
    lines = (
        FoldFigures(fold=fold, run=run_of(base, fold).hex(), published=Published(**each))
        for fold, each in enumerate(published, start=1)
    )
    return Folds(folds=tuple(lines), mean=means, deviation=deviations)
