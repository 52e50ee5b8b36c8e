"""Finished runs of every model that a plan may have."""

from __future__ import annotations

from pathlib import Path

from federation.report.said.finished import Finished, open_run
from tests.federation.report.said.runs import folder

KINDS = {
    "classes": "",
    "range": 'kind = "tabular-regression"\ntarget = "days"\ntarget_range = { low = 0, high = 9 }',
    "counts": 'kind = "tabular-counts"\ntarget = "visits"\nmost = 9',
    "survival": 'kind = "survival"\ntarget = "days"\nevent = "died"\nbins = [3, 6, 9]',
}
BUILT_IN = [
    *(("classes", model) for model in ("logistic", "additive", "mlp")),
    *(("range", model) for model in ("linear", "mlp")),
    *(("counts", model) for model in ("linear", "additive")),
    *(("survival", model) for model in ("logistic", "mlp")),
]
OWN = ("conv", "gru", "transformer")
ALL = [*BUILT_IN, *(("own", name) for name in OWN)]


def run_of(path: Path, kind: str, model: str, **how: object) -> Finished:
    """A run of random params."""
    if kind == "own":
        return open_run(folder(path, task=f"tests.clients.exporting.tasks:{model}"))
    return open_run(folder(path, model=model, kind=KINDS[kind], **how))  # type: ignore[arg-type]
