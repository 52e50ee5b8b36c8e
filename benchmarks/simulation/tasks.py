"""Workloads as tasks of a user's own: a site's file holds its number, and how many records if not all."""

from __future__ import annotations

from functools import partial

from benchmarks.simulation.workloads import WORKLOADS, Workload
from federation import Dataset, Source, Task
from federation.model.task import cross_entropy


def _read(work: Workload, source: Source) -> Dataset:
    client, *most = map(int, source.path.read_text().split())
    features, labels = work.records_of(client)
    count = most[0] if most else work.records
    return Dataset(features[:count], labels[:count])


def _mock(work: Workload, count: int) -> Dataset:
    features, labels = work.records_of(0)
    rows = [number % work.records for number in range(count)]
    return Dataset(features[rows], labels[rows])


def _task(name: str) -> Task:
    work = WORKLOADS[name]
    return Task(name, work.model, cross_entropy, data=partial(_read, work), mock=partial(_mock, work))


mlp, logistic, cnn, dp_mlp, dp_cnn = map(_task, ("mlp", "logistic", "cnn", "dp-mlp", "dp-cnn"))
