"""A site's records as a plan counts them that trains nothing: one cell of each column is 1.

Where patients are protected, a record counts one over the number of its patient's records at this site: the sum of
a patient, whom training clips as a whole, is then the mean of what their records are in, and no longer than any.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from federation.model.task import Dataset
from federation.plan.plan import Plan
from federation.plan.tallies.tasks import Curves


def tallied(data: Dataset, plan: Plan) -> Dataset:
    """The records, each as what it adds to the sum."""
    task, features, labels = plan.task, data.features, data.labels
    if isinstance(task, Curves):
        groups = features.argmax(dim=1) if task.features else torch.zeros_like(labels)
        features = torch.zeros(len(labels), task.inputs)
        features[torch.arange(len(labels)), groups * task.states + labels] = 1.0
    if plan.privacy.unit == "patient" and data.patients is not None:
        features = features / torch.bincount(data.patients)[data.patients].to(features.dtype)[:, None]
    return replace(data, features=features, labels=torch.zeros(len(labels), dtype=torch.int64))
