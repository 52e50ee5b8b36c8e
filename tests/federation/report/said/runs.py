"""Run folders as a run leaves them, made without training."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from federation.model.base import trained
from federation.model.params import Layout, params_bytes, params_digest
from federation.model.task import build_task
from federation.plan.plan import load

PLAN = """
[federation]
name = "told"
rounds = 1
seed = 7
[task]
kind = "tabular-classification"
target = "y"
classes = [{classes}]
model = "{model}"
{cross}
[task.features]
age = {{ low = 20, high = 90{knots} }}
dose = {{ low = 1, high = 100, scale = "log", missing = "indicator" }}
ward = {{ values = ["a", "b"], other = true }}
[cohort]
size = "all"
minimum = 3
weights = "uniform"
deadline_seconds = 60
[training]
optimizer = "sgd"
learning_rate = 0.5
local_steps = 1
sample_rate = 0.1
[privacy]
unit = "record"
noise = "none"
[secure_aggregation]
colluders = 1
dropouts = 0
[server]
optimizer = "average"
learning_rate = 1.0
[evaluation]
{threshold}
"""
ROWS = "age,dose,ward\n30,10,a\n90,,b\n20,1,zz\n55.5,99,a\n120,5,b\n"


def folder(
    path: Path,
    model: str = "additive",
    classes: int = 2,
    cross: bool = True,
    threshold: str = "",
    kind: str = "",
    task: str = "",
    features: str = "",
    base: str = "",
    alone: bool = False,
) -> Path:
    """A finished run of random params. `task` names one of somebody's own, in the place of the table.

    `features` stand in the place of the ward, or `alone`; `base` is a table behind all others.
    """
    path.mkdir()
    names = ", ".join(f'"{name}"' for name in "nyz"[:classes])
    knots = ", knots = 4" if model == "additive" else ""
    crossed = 'cross = [["age", "ward"]]' if cross and model == "additive" else ""
    text = PLAN.format(classes=names, model=model, cross=crossed, knots=knots, threshold=threshold)
    if kind:
        usual = f'kind = "tabular-classification"\ntarget = "y"\nclasses = [{names}]'
        assert usual in text
        text = text.replace(usual, kind)
    if alone:
        text = re.sub(r"^(age|dose) = .*\n", "", text, flags=re.MULTILINE)
    if features:
        text = text.replace('ward = { values = ["a", "b"], other = true }\n', features)
        assert features in text
    if task:
        before, rest = text.split("[task]")
        text = f'task = "{task}"\n{before}[cohort]' + rest.split("[cohort]")[1]
    (path / "plan.toml").write_text(text + base)
    plan = load(path / "plan.toml")
    own = build_task(plan).model()
    layout = Layout.of(own)
    params = torch.randn(layout.dimension, generator=torch.Generator().manual_seed(3))
    layout.load(own, params)
    tensors = {name: value.detach().contiguous() for name, value in trained(own).items()}
    save_file(tensors, path / "params.safetensors", {"plan": plan.digest, "private": "false"})
    digest = params_digest(params_bytes(params)).hex()
    (path / "receipts.jsonl").write_text(json.dumps({"closed": True, "params": digest}) + "\n")
    (path / "report.json").write_text(json.dumps({"plan_digest": plan.digest, "simulated": False}))
    return path
