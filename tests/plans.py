"""One plan, and how the tests change it, by key.

A change names a key as the plan has it. A bare key means the first table that holds it (`optimizer` is the site's);
a dotted one says the table, and may also add a key; None removes a key or a whole table. The claim (epsilon, delta,
clipping norm) stands in every plan but one with `noise = "none"`, which may not have any.

>>> plan_of(rounds=3).federation.rounds
3
>>> plan_of({"server.optimizer": "average", "evaluation": None}).server.optimizer
'average'
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any

from federation.plan.plan import Plan, parse

Changes = Mapping[str, object]
CLAIM = ("epsilon", "delta", "clipping_norm")

TEXT = """\
[federation]
name = "heart-disease"
rounds = 200
seed = 7                                  # public

[task]
kind = "tabular-classification"
target = "num"
classes = ["0", "1"]
model = "logistic"
[task.features]
age = { low = 20, high = 90 }
cp  = { values = ["1", "2", "3", "4"] }

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
noise = "distributed"
epsilon = 3.0
delta = 1e-5
clipping_norm = 1.0

[secure_aggregation]
colluders = 1
dropouts = 1

[server]
optimizer = "adam"
learning_rate = 0.05

[evaluation]
holdout = 0.2
metrics = ["accuracy", "balanced_accuracy", "auc", "f1", "recall"]
"""


def text_of(*many: Changes, **changes: object) -> str:
    """The plan with these keys changed, later ones last, as a file of its own."""
    tables = tomllib.loads(TEXT)
    for key, value in [pair for some in (*many, changes) for pair in some.items()]:
        _change(tables, key, value)
    if tables["privacy"]["noise"] == "none":
        tables["privacy"] = {key: value for key, value in tables["privacy"].items() if key not in CLAIM}
    return "\n".join(_written(name, table) for name, table in tables.items())


def plan_of(*many: Changes, **changes: object) -> Plan:
    """The plan of `text_of`."""
    return parse(text_of(*many, **changes))


def changed(old: str, new: str) -> str:
    """`TEXT` with one passage replaced."""
    assert TEXT.count(old) >= 1, old
    return TEXT.replace(old, new, 1)


def for_patients(noise: str = "distributed") -> str:
    """`TEXT` for patients; the data have a column that says who a record's patient is."""
    text = changed('unit = "record"', 'unit = "patient"').replace('"distributed"', f'"{noise}"')
    return text.replace('target = "num"', 'target = "num"\npatient = "mrn"')


def line_of(passage: str) -> int:
    """The line of `TEXT` that holds a passage."""
    return next(number for number, line in enumerate(TEXT.split("\n"), start=1) if passage in line)


def _change(tables: dict[str, Any], key: str, value: object) -> None:
    """Set one key in place."""
    table, _, name = key.rpartition(".")
    if table or key in tables:
        holder = tables[table] if table else tables
    else:
        holder = next((held for held in tables.values() if key in held), None)
        assert holder is not None, f"no table has {key}; say which, as in evaluation.epsilon"
    if value is None:
        holder.pop(name)
    else:
        holder[name] = value


def _written(name: str, table: Mapping[str, Any]) -> str:
    """A table as TOML: its own keys, then the table inside it, a row of which is a table in one line."""
    lines = [f"[{name}]"]
    lines += [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    for inner, rows in table.items():
        if isinstance(rows, Mapping):
            lines += [f"[{name}.{inner}]", *(f"{key} = {_value(value)}" for key, value in rows.items())]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    """A number, a string, a list or a table in one line; JSON's strings are also TOML's."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, bool | str | list):
        return json.dumps(value)
    return repr(value).replace("e-0", "e-")  # as people write it: 1e-5
