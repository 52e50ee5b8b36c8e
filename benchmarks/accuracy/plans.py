"""The plan that choices are compared by, and how a benchmark changes it, key by key."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from federation.config.toml import write
from federation.plan.plan import Plan, parse

Changes = Mapping[str, Any]  # "table.key": its value; None takes the key away

PIXELS = [f"p{pixel:02d}" for pixel in range(64)]
_RULES = """
[cohort]
size = "all"
minimum = {minimum}
[training]
optimizer = "sgd"
learning_rate = 0.5
local_steps = 1
sample_rate = 0.1
[privacy]
unit = "record"
noise = "distributed"
epsilon = 1.0
delta = 1e-5
clipping_norm = 1.0
[secure_aggregation]
colluders = 1
dropouts = 1
[server]
optimizer = "average"
learning_rate = 1.0
[evaluation]
holdout = 0.2
metrics = ["accuracy"]
"""
_TASK = """
[federation]
name = "{name}"
rounds = 200
seed = 0
[task]
kind = "tabular-classification"
target = "{target}"
classes = [{classes}]
model = "logistic"
[task.features]
{features}
"""


def text_of(name: str, target: str, classes: int, features: str, minimum: int) -> str:
    """The plan of a table with these lines of features, as a file has it; classes are numbers from 0."""
    named = ", ".join(f'"{each}"' for each in range(classes))
    task = _TASK.format(name=name, target=target, classes=named, features=features)
    return task + _RULES.format(minimum=minimum)


def digits(features: str | None = None) -> str:
    """The plan of scikit-learn's digits at five sites; by default a column is a pixel."""
    lines = "\n".join(f"{pixel} = {{ low = 0, high = 16 }}" for pixel in PIXELS)
    return text_of("digits", "digit", 10, features or lines, 5)


def changed(text: str, changes: Changes) -> Plan:
    """The plan in a text but for some keys."""
    tables = tomllib.loads(text)
    for place, value in changes.items():
        table, key = place.split(".")
        if value is None:
            tables[table].pop(key, None)
        else:
            tables[table][key] = value
    return parse(write(tables))
