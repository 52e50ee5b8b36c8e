"""Checks all folds of a run: each by an audit of its own, and what the report of the model says of them.

Each figure there has to be that of the fold's own receipt, and mean and deviation theirs.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from federation.audit.findings import Findings
from federation.audit.outcome import Audit
from federation.audit.receipts import Evaluation
from federation.audit.report import check_same, differs
from federation.round.plays import fold_name

_FIGURES = ("accuracy", "loss", "records", "standard_error")


@dataclass(frozen=True)
class Fold:
    """One fold: what its receipts say, and the audit of its folder; None where there is none."""

    number: int
    run: str
    evaluation: Evaluation | None
    audit: Audit | None


def check_folds(
    run: str, report: Mapping[str, Any] | None, plan: str, folds: Sequence[Fold], found: Findings
) -> None:
    """Add what is found in the folder of each fold, and whatever of the figures is not that of their receipts."""
    for fold in folds:
        _check_folder(run, plan, fold, found)
    if report is not None:
        _check_figures(report.get("folds"), folds, found)


def _check_folder(run: str, plan: str, fold: Fold, found: Findings) -> None:
    name = fold_name(fold.number)
    if fold.audit is None:
        if run:
            found.add(
                "fold-missing", f"{name} is not there: its rounds are charged, and nothing tells of them"
            )
        return
    if fold.run != f"{run[:-2]}{fold.number:02x}" and fold.run and run:
        found.add("fold-missing", f"{name} is of another run")
    if fold.audit.plan_digest != plan:
        found.add("fold-missing", f"{name} is of another plan")
    for each in fold.audit.findings:
        found.add(each.id, f"{name}: {each.detail}", each.site)
    for line in fold.audit.not_checked:
        found.skip(line)


def _check_figures(told: object, folds: Sequence[Fold], found: Findings) -> None:
    lines = [
        {
            "fold": fold.number,
            "run": fold.run,
            "published": None if fold.evaluation is None else dict(fold.evaluation.figures),
        }
        for fold in folds
    ]
    figures = [_flat(fold.evaluation.figures) for fold in folds if fold.evaluation is not None]
    if not isinstance(told, Mapping) or len(figures) < len(folds):
        differs("folds: the report does not tell what was published of every fold", found)
        return
    expected: dict[str, Any] = {"folds": lines, "mean": {}, "deviation": {}}
    for name in figures[0] if figures else _FIGURES:
        values = [each.get(name) for each in figures]
        known = [value for value in values if isinstance(value, int | float)]
        is_whole = len(known) == len(values) > 1
        expected["mean"][name] = statistics.fmean(known) if is_whole else None
        expected["deviation"][name] = statistics.stdev(known) if is_whole else None
    check_same(expected, told, "folds", found)


def _flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a fold by name: of what is no class those of its metrics, and the number of records."""
    measured = figures.get("measured")
    metrics = measured.get("metrics") if isinstance(measured, Mapping) else None
    if not isinstance(metrics, Mapping):
        return {name: figures.get(name) for name in _FIGURES}
    values = {name: one.get("value") if isinstance(one, Mapping) else None for name, one in metrics.items()}
    return {**values, "records": figures.get("records")}
