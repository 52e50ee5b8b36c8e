"""Finished runs of every model that a plan may have."""

from __future__ import annotations

from pathlib import Path

import torch

from federation.model.base import base_digest
from federation.report.said.finished import Finished, open_run
from tests.clients.exporting.tasks import Frozen
from tests.federation.report.said.runs import folder

SERIES = """kind = "series-classification"
target = "y"
classes = ["n", "y"]
patient = "who"
time = "hour"
window = 3
stride = 2
horizon = 1"""
KINDS = {
    "classes": "",
    "range": 'kind = "tabular-regression"\ntarget = "days"\ntarget_range = { low = 0, high = 9 }',
    "counts": 'kind = "tabular-counts"\ntarget = "visits"\nmost = 9',
    "survival": 'kind = "survival"\ntarget = "days"\nevent = "died"\nbins = [3, 6, 9]',
    "series": SERIES,
    "images": "",
    "words": "",
}
FEATURES = {
    "images": 'scan = { image = "pixels", height = 16, width = 16, channels = 1, low = 0, high = 255 }\n',
    "words": 'note = { text = "words", width = 8, missing = "indicator" }\n',
}
BUILT_IN = [
    *(("classes", model) for model in ("logistic", "mlp")),
    *(("range", "linear"), ("counts", "additive"), ("survival", "mlp"), ("words", "logistic")),
    *(("series", "gru"), ("series", "transformer"), ("images", "cnn")),
]
OWN = ("conv", "gru", "transformer", "frozen")
ALL = [*BUILT_IN, *(("own", name) for name in OWN)]


def run_of(path: Path, kind: str, model: str) -> Finished:
    """A run of random params."""
    if kind != "own":
        return open_run(folder(path, model=model, kind=KINDS[kind], features=FEATURES.get(kind, "")))
    base = ""
    if model == "frozen":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(7)  # as the plan has it
            base = f'[base]\ndigest = "{base_digest(Frozen())}"\ntrained_on = "books"\n'
    return open_run(folder(path, task=f"tests.clients.exporting.tasks:{model}", base=base))
