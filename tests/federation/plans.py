"""The plan that the tests of this folder change, one key at a time."""

from __future__ import annotations

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


def changed(old: str, new: str) -> str:
    """The plan with one passage replaced."""
    assert TEXT.count(old) >= 1, old
    return TEXT.replace(old, new, 1)


def for_patients(noise: str = "distributed") -> str:
    """The plan for patients whose column the data have."""
    text = changed('unit = "record"', 'unit = "patient"').replace('"distributed"', f'"{noise}"')
    return text.replace('target = "num"', 'target = "num"\npatient = "mrn"')


def line_of(passage: str) -> int:
    """The line of the plan that holds a passage."""
    return next(number for number, line in enumerate(TEXT.split("\n"), start=1) if passage in line)
