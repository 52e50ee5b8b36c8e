"""`[task]` of whichever kind: the key `kind` says which class reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from federation.kinds.tallies import SETTINGS
from federation.plan.series.tasks import SeriesClassification, SeriesRegression
from federation.plan.tabular import (
    CLASSIFICATION,
    COUNTS,
    CURVES,
    KINDS,
    REGRESSION,
    SERIES_CLASSIFICATION,
    SERIES_REGRESSION,
    STATISTICS,
    SURVIVAL,
    TALLIES,
)
from federation.plan.tallies.tasks import Curves, Statistics
from federation.plan.tasks import Classification, Counting, Regression, TimeToEvent


def _kind_of(task: Any) -> str:
    """By its key; a table of an unknown kind is told what there is by the first."""
    kind = task.get("kind") if isinstance(task, Mapping) else getattr(task, "kind", None)
    return kind if kind in KINDS else CLASSIFICATION


TabularKind = Annotated[
    Annotated[Classification, Tag(CLASSIFICATION)]
    | Annotated[Regression, Tag(REGRESSION)]
    | Annotated[TimeToEvent, Tag(SURVIVAL)]
    | Annotated[Counting, Tag(COUNTS)]
    | Annotated[SeriesClassification, Tag(SERIES_CLASSIFICATION)]
    | Annotated[SeriesRegression, Tag(SERIES_REGRESSION)]
    | Annotated[Statistics, Tag(STATISTICS)]
    | Annotated[Curves, Tag(CURVES)],
    Discriminator(_kind_of),
]
"""`[task]`, of whichever kind."""


def settled(data: Any) -> Any:
    """A plan as a file has it, with what has one value only where nothing is trained; other plans as they are."""
    task = data.get("task") if isinstance(data, Mapping) else None
    kind = task.get("kind") if isinstance(task, Mapping) else getattr(task, "kind", None)
    if kind not in TALLIES:
        return data
    tables: dict[str, Any] = dict(data)
    for (table, key), value in SETTINGS.items():
        if isinstance(found := tables.get(table, {}), Mapping):
            tables[table] = {key: value, **found}
    privacy = tables.get("privacy")
    norm = _norm(task)
    if norm is not None and isinstance(privacy, Mapping) and privacy.get("noise") != "none":
        tables["privacy"] = {"clipping_norm": norm, **privacy}
    return tables


def _norm(task: Any) -> float | None:
    """How long a record is: the same as `Statistics.norm`, of a task that was not read yet."""
    features = task.get("features") if isinstance(task, Mapping) else task.features
    if isinstance(task, Curves) or (isinstance(task, Mapping) and task["kind"] == CURVES):
        return 1.0
    return math.sqrt(len(features)) if isinstance(features, Mapping | list | tuple) and features else None
