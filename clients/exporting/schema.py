"""What goes into a model and what comes out, in words that stand in its file: a row of a table follows from it.

The input is the plan's own: features that are encoded by public rules, (rows, columns) float32. So a file says what
becomes of each cell: the range it is clipped to and scaled by, its values, and what a missing cell is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from federation.model.code import code_digest
from federation.model.task import cross_entropy
from federation.plan.columns.features import Categorical, Date, Feature, Hashed, Numeric, Wide
from federation.plan.columns.maps import slices
from federation.plan.columns.scales import corners
from federation.plan.outcomes import Classes, Counts, Outcome, Range, Survival
from federation.plan.series.tasks import Series
from federation.plan.tabular import TabularTask
from federation.plan.tasks import Classification, Counting
from federation.report.said.finished import Finished

INPUT, OUTPUT, ROWS = "input", "output", "rows"
Json = dict[str, Any]

_KINDS = {Numeric: "number", Categorical: "values", Hashed: "hash", Date: "date"}


def input_of(run: Finished, example: Tensor) -> Json:
    """The input: its shape, and of a table each feature in order with its columns."""
    found: Json = {"name": INPUT, "dtype": str(example.dtype).removeprefix("torch.")}
    found["shape"] = [ROWS, *example.shape[1:]]
    if run.table is None:
        return found | {"read_by": run.plan.code, "code": code_digest(run.plan.code)}
    table = run.table
    places = slices(table.features)
    found["features"] = [_feature(one, places[one.name]) for one in table.features]
    if isinstance(table, Series):
        said = "rows of one series, oldest first: columns of row s begin at s * width; features are those of a row"
        shape = {"steps": table.window, "width": table.width, "horizon": table.horizon}
        found["window"] = {**shape, "time": table.time, "means": said}
    found["cross"] = [list(pair) for pair in table.cross or ()]
    if table.steps > 1:
        found["steps"] = f"{table.steps} rows of a series, the oldest first, one after the other"
    return found | {"rows": table.rows or "as they are"}


def output_of(run: Finished, outputs: Tensor) -> Json:
    """The output: what the numbers mean, and what makes of them what people read."""
    table, outcome = run.table, run.task.predicts
    found: Json = {"name": OUTPUT, "shape": [ROWS, *outputs.shape[1:]]}
    if table is not None:
        found["target"] = table.target
    if isinstance(outcome, Classes):
        return found | _classes(run, outputs)
    return found | _numbers(outcome, table)


def _classes(run: Finished, outputs: Tensor) -> Json:
    if isinstance(run.table, Classification) and not run.table.learns_chances:
        return {
            "classes": list(run.table.classes),
            "means": "scores, and no chances: the largest is the class",
        }
    if run.task.loss is not cross_entropy:
        return {"means": "what the task's own loss makes of them"}
    names = (
        run.table.classes
        if isinstance(run.table, Classification)
        else map(str, range(outputs.reshape(len(outputs), -1).shape[1]))
    )
    threshold = run.plan.evaluation.threshold
    said = {} if threshold is None else {"threshold_of_the_second": threshold}
    return {"classes": list(names), "means": "logits: probabilities by softmax over the last axis", **said}


def _numbers(outcome: Outcome, table: TabularTask | None) -> Json:
    if isinstance(outcome, Range):
        said = "the number: low + (high - low) / 2 * (output + 1)"
        return {"low": outcome.low, "high": outcome.high, "means": said}
    if isinstance(outcome, Survival):
        said = "logits of the hazard in each bin of time: survival at its end is the product of 1 - sigmoid so far"
        return {"bins_end_at": list(outcome.ends), "means": said}
    exposure = table.exposure if isinstance(table, Counting) else None
    unit = f", for 1 of {exposure}" if exposure else ", for 1 of exposure" if _has_exposure(outcome) else ""
    return {"means": f"the logarithm of the expected count{unit}"}


def _has_exposure(outcome: Outcome) -> bool:
    return isinstance(outcome, Counts) and outcome.has_exposure


def _feature(feature: Feature, place: slice) -> Json:
    """As the plan has it. What is usual is said, too; knots are where they are on [-1, 1]."""
    content: Json = {"name": feature.name, "kind": _KINDS.get(type(feature), "vector")}
    content["columns"] = [place.start, place.stop]
    content |= feature.model_dump(mode="json", exclude_none=True)
    content.setdefault("missing", "refuse")
    if isinstance(feature, Wide):
        return content | {"becomes": feature.told}
    content["parts"] = list(feature.parts)
    if isinstance(feature, Numeric):
        content.setdefault("scale", "linear")
        content |= {} if feature.hats is None else {"knots": _knots(feature, feature.hats)}
    if isinstance(feature, Categorical):
        content.setdefault("other", False)
    return content


def _knots(feature: Numeric, many: int) -> list[float]:
    listed = corners(feature)
    return [float(place) for place in (np.linspace(-1.0, 1.0, many) if listed is None else listed)]
